/* Keys of requests: whose they are, and that they are forgotten. */
#include "tests/unit/server/queue_bench.h"

#define KEYS "SELECT count(*) FROM idempotency"

static struct told sent(struct bench *b, uid_t uid, const char *key, const char *fields)
{
    struct told t = { 0 };
    bench_send(b, bench_actor(uid, uid == ADA ? "ada" : "bob"), key, fields, NULL, 0, &t);
    bench_settle(b);
    cr_assert_eq(t.calls, 1);
    return t;
}

static struct told asked(struct bench *b, uid_t uid, const char *text, const char *body)
{
    struct told t = { 0 };
    const struct queue_key key = { uid == ADA ? "ada" : "bob", text, NULL, body, strlen(body) };
    queue_repeated(b->q, &key, tell_done, &t);
    bench_settle(b);
    cr_assert_eq(t.calls, 1);
    return t;
}

/* Goal: a key is one of its user, by id; of two requests that are under way the second gets the
 * first one's answer; and it makes nothing anew once that was deleted. */
Test(idempotency, a_key_belongs_to_a_user_id, .timeout = 20)
{
    static struct bench b;
    struct told twice[2] = { 0 };
    bench_open(&b, 0);
    bench_hold(&b);
    for (int i = 0; i < 2; i++)
        bench_send(&b, bench_actor(ADA, "ada"), "k", NULL, NULL, 0, &twice[i]);
    bench_release(&b);
    cr_assert(twice[0].id == 1 && twice[1].id == 1);
    cr_assert_eq(sent(&b, BOB, "k", NULL).id, 2);
    cr_assert_eq(sent(&b, ADA, "k", "\"seed\": 3").code, ERR_IDEMPOTENCY);
    char *body = small_spec(1, NULL);
    cr_assert_eq(asked(&b, ADA, "k", body).id, 1);
    cr_assert_eq(asked(&b, ADA, "k", "{}").code, ERR_IDEMPOTENCY);
    const struct told none = asked(&b, ADA, "other", body);
    cr_assert(none.code == ERR_OK && none.id == 0);
    cr_assert_eq(asked(&b, ADA, "", body).code, ERR_INVALID);
    bench_do(&b, 1, QUEUE_CANCEL);
    struct told t = { 0 };
    queue_remove_experiment(b.q, 1, REMOVAL_DELETE, 0, bench_actor(ADA, "ada"), tell_done, &t);
    bench_settle(&b);
    cr_assert_eq(asked(&b, ADA, "k", body).code, ERR_NOT_FOUND);
    cr_assert_eq(sent(&b, ADA, "k", NULL).code, ERR_NOT_FOUND);
    mem_free(body);
    bench_close(&b);
}

/* Goal: a key is over after a day, to the millisecond, and its row goes by itself. */
Test(idempotency, keys_expire, .timeout = 20)
{
    static struct bench b;
    bench_open(&b, 0);
    (void)sent(&b, ADA, "old", NULL);
    (void)sent(&b, ADA, "new", NULL);
    bench_sql(&b, "UPDATE idempotency SET at_ms=at_ms-24*3600*1000-1 WHERE key='old'");
    char *body = small_spec(1, NULL);
    b.q->keys_expire_ms = INT64_MAX; /* the row is there yet */
    cr_assert_eq(asked(&b, ADA, "old", body).id, 0);
    cr_assert_eq(sent(&b, ADA, "old", NULL).id, 3);
    bench_sql(&b, "UPDATE idempotency SET at_ms=at_ms-24*3600*1000-1 WHERE key='old'");
    cr_assert_eq(bench_count(&b, KEYS), 2);
    b.q->keys_expire_ms = 0;
    idempotency_tick(b.q);
    cr_assert_eq(bench_count(&b, KEYS), 1);
    cr_assert(b.q->keys_expire_ms > 0);
    cr_assert_eq(asked(&b, ADA, "new", body).id, 2);
    mem_free(body);
    bench_close(&b);
}
