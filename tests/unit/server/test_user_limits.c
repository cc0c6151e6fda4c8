/* The limit of a user: who a user is, what counts, and when it begins to count. */
#include "server/auth/identity.h"
#include "tests/unit/server/queue_bench.h"

static struct queue_actor ada(void) { return bench_actor(ADA, "ada"); }

/* Goal: what is handed over at once is counted at once: a burst does not pass the limit while its
 * first rows are being written, and what was refused or failed takes no room. */
Test(user_limits, a_burst_is_counted, .timeout = 20)
{
    static struct bench b;
    struct told t[5] = { 0 };
    bench_open(&b, 0);
    b.q->o.queued_per_user_max = 3;
    bench_hold(&b);
    for (int i = 0; i < 5; i++) bench_send(&b, ada(), NULL, NULL, NULL, 0, &t[i]);
    bench_release(&b);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(t[i].code, i < 3 ? ERR_OK : ERR_QUEUE_FULL, "%d: %s", i, t[i].text);
    cr_assert(strstr(t[4].text, "at most 3") != NULL, "%s", t[4].text);
    cr_assert_eq(bench_count(&b, "SELECT count(*) FROM experiment"), 3);
    bench_do(&b, 1, QUEUE_CANCEL);
    (void)bench_submit(&b, NULL, 0);
    bench_close(&b);
}

/* Goal: pausing makes no room, and a retry needs some. */
Test(user_limits, paused_ones_and_retries_count, .timeout = 20)
{
    static struct bench b;
    struct told t = { 0 };
    bench_open(&b, 0);
    b.options.queued_per_user_max = b.q->o.queued_per_user_max = 2;
    (void)bench_submit(&b, NULL, 0);
    (void)bench_submit(&b, NULL, 0);
    bench_do(&b, 1, QUEUE_PAUSE);
    bench_send(&b, ada(), NULL, NULL, NULL, 0, &t);
    cr_assert(t.calls == 1 && t.code == ERR_QUEUE_FULL, "%s", t.text);
    bench_do(&b, 2, QUEUE_CANCEL);
    (void)bench_submit(&b, NULL, 0);
    t = (struct told){ 0 };
    bench_act(&b, 2, QUEUE_RETRY, &t);
    cr_assert(t.calls == 1 && t.code == ERR_QUEUE_FULL, "%s", t.text);
    bench_do(&b, 3, QUEUE_CANCEL);
    bench_stop(&b);
    bench_reopen(&b); /* counts of what was loaded */
    bench_do(&b, 2, QUEUE_RETRY);
    t = (struct told){ 0 };
    bench_send(&b, ada(), NULL, NULL, NULL, 0, &t);
    cr_assert(t.calls == 1 && t.code == ERR_QUEUE_FULL, "%s", t.text);
    bench_close(&b);
}

/* Goal: a user is a name, whichever way they come: people known by tokens alone, who have no user
 * id, have room of their own each, and another id gives nobody more. */
Test(user_limits, a_user_is_a_name, .timeout = 20)
{
    static struct bench b;
    struct told first = { 0 }, other = { 0 }, again = { 0 };
    bench_open(&b, 0);
    b.q->o.queued_per_user_max = 1;
    bench_send(&b, ada(), NULL, NULL, NULL, 0, &first);
    bench_send(&b, bench_actor(IDENTITY_NO_UID, "bob"), NULL, NULL, NULL, 0, &other);
    bench_send(&b, bench_actor(IDENTITY_NO_UID, "ada"), NULL, NULL, NULL, 0, &again);
    bench_settle(&b);
    cr_assert(first.code == ERR_OK && first.calls == 1);
    cr_assert(other.code == ERR_OK && other.calls == 1, "%s", other.text);
    cr_assert_eq(again.code, ERR_QUEUE_FULL);
    bench_close(&b);
}
