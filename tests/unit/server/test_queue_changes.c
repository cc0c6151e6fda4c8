/* Changes of an experiment between their judgement and their commit: what arrives meanwhile stays,
 * and what was meant for one attempt, or one grace time, never reaches the next. */
#include "tests/unit/server/queue_bench.h"

#include <signal.h>

static const struct experiment *x_of(const struct bench *b, int64_t id)
{
    return &queue_entry(b->q, id)->x;
}

static int64_t running(struct bench *b)
{
    const int64_t id = bench_submit(b, NULL, 0);
    cr_assert(bench_wait(b, id, STATE_STARTING));
    bench_settle(b);
    bench_worker(b, queue_worker_hello, id, HELLO);
    cr_assert(bench_wait(b, id, STATE_RUNNING));
    return id;
}

/* Goal: what a worker tells while a change of labels is written is still there after its commit. */
Test(queue_changes, progress_told_meanwhile_stays, .timeout = 20)
{
    static struct bench b;
    struct told t = { 0 };
    bench_open(&b, 1);
    const int64_t id = running(&b);
    bench_hold(&b);
    const struct queue_patch patch = { .name = "renamed" };
    queue_patch(b.q, id, &patch, bench_actor(ADA, "ada"), tell_done, &t);
    bench_worker(&b, queue_worker_renew, id,
                 "{\"step\": 7, \"steps_total\": 90, \"epoch\": 1, \"epochs\": 3,"
                 " \"samples_per_s\": 12.5}");
    queue_entry(b.q, id)->x.headline[0] = 0.25; /* as a frame of points does */
    bench_release(&b);
    cr_assert(t.calls == 1 && t.code == ERR_OK, "%s", t.text);
    const struct experiment *x = x_of(&b, id);
    cr_assert_str_eq(x->name, "renamed");
    cr_assert(x->step == 7 && x->steps_total == 90 && x->epoch == 1 && x->epochs == 3,
              "step %lld of %lld, epoch %lld of %lld", (long long)x->step,
              (long long)x->steps_total, (long long)x->epoch, (long long)x->epochs);
    cr_assert_eq(x->samples_per_s, 12.5);
    cr_assert_eq(x->headline[0], 0.25);
    bench_close(&b);
}

/* Goal: a hello whose points were being cut when its worker died does not make the next attempt,
 * which is just being claimed, a running one. */
Test(queue_changes, a_late_hello_is_not_the_next_attempts, .timeout = 20)
{
    static struct bench b;
    struct told late = { 0 };
    bench_open(&b, 1);
    const int64_t id = bench_submit(&b, NULL, 0);
    cr_assert(bench_wait(&b, id, STATE_STARTING));
    bench_settle(&b);
    bench_exit(&b, id, 1, SIGKILL);
    cr_assert(bench_wait(&b, id, STATE_BACKOFF));
    while (!(x_of(&b, id)->state == STATE_QUEUED)) (void)uv_run(&b.loop, UV_RUN_ONCE);
    bench_hold(&b); /* the claim is judged now at the latest, and waits */
    scheduler_run(b.q);
    cr_assert(queue_entry(b.q, id)->writing);
    struct change *hello = change_new(b.q, queue_entry(b.q, id), EVENT_HELLO);
    hello->answer = tell_answer;
    hello->ctx = &late;
    change_submit(hello);
    bench_release(&b);
    cr_assert(x_of(&b, id)->attempt == 2 && x_of(&b, id)->state == STATE_STARTING, "%s",
              state_name(x_of(&b, id)->state));
    cr_assert(late.calls == 1 && late.code == ERR_LEASE_LOST, "%d %s", late.calls, late.text);
    bench_close(&b);
}

/* Goal: the end of a pause's grace time, which came while a cancel was being written, does not kill
 * the worker that the cancel has just given a grace time of its own. */
Test(queue_changes, a_grace_time_ends_for_its_own_request, .timeout = 20)
{
    static struct bench b;
    struct told t = { 0 };
    bench_open(&b, 1);
    const int64_t id = running(&b);
    bench_do(&b, id, QUEUE_PAUSE);
    cr_assert(bench_wait(&b, id, STATE_STOPPING));
    bench_hold(&b);
    bench_act(&b, id, QUEUE_CANCEL, &t);
    queue_entry(b.q, id)->grace_until_ms = 1; /* long over */
    scheduler_tick(b.q);
    bench_release(&b);
    cr_assert(t.calls == 1 && t.code == ERR_OK && x_of(&b, id)->desired == DESIRED_CANCEL);
    cr_assert_eq(b.launcher.killed, 0, "the cancel's 30 s were not waited for");
    bench_close(&b);
}

/* Goal: a change is written to the revision that it was judged by, or not at all. */
Test(queue_changes, a_row_that_moved_on_is_not_overwritten, .timeout = 20)
{
    static struct bench b;
    struct told t = { 0 };
    bench_open(&b, 0);
    const int64_t id = bench_submit(&b, NULL, 0);
    bench_sql(&b, "UPDATE experiment SET rev=rev+1,name='other'");
    const struct queue_patch patch = { .name = "renamed" };
    queue_patch(b.q, id, &patch, bench_actor(ADA, "ada"), tell_done, &t);
    bench_settle(&b);
    cr_assert(t.calls == 1 && t.code == ERR_CONFLICT, "%s", t.text);
    cr_assert_eq(bench_count(&b, "SELECT count(*) FROM experiment WHERE name='other'"), 1);
    bench_close(&b);
}
