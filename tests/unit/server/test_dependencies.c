/* Experiments that wait for others: what counts of those that were deleted, verdicts that could not
 * be written at once, and how much memory waiting takes. */
#include "tests/unit/server/queue_bench.h"

static enum experiment_state state_of(const struct bench *b, int64_t id)
{
    return queue_entry(b->q, id)->x.state;
}

static void deleted(struct bench *b, int64_t id)
{
    struct told t = { 0 };
    queue_remove_experiment(b->q, id, REMOVAL_DELETE, 0, bench_actor(ADA, "ada"), tell_done, &t);
    bench_settle(b);
    cr_assert(t.calls == 1 && t.code == ERR_OK, "%s", t.text);
    for (int i = 0; queue_entry(b->q, id) != NULL && i < 2000; i++) {
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    cr_assert(queue_entry(b->q, id) == NULL, "something of it is left");
}

/* Goal: what was met stays met when the experiment that met it is deleted, in this daemon and in
 * the next one; and a failure stays one. */
Test(dependencies, a_deleted_one_counts_as_it_ended, .timeout = 30)
{
    static struct bench b;
    bench_open(&b, 1);
    const int64_t good = bench_submit(&b, NULL, 0);
    bench_run(&b, good, "succeeded");
    const int64_t bad = bench_submit(&b, NULL, 0);
    bench_run(&b, bad, "failed");
    const int64_t last = bench_submit(&b, NULL, 0);
    const struct dependency both[] = { { .experiment = good }, { .experiment = last } },
                            any[] = { { .experiment = bad, .any = true }, { .experiment = last } };
    const int64_t first = bench_submit(&b, both, 2), second = bench_submit(&b, any, 2),
                  third = bench_submit(&b, both, 2);
    deleted(&b, good);
    deleted(&b, bad);
    cr_assert_eq(state_of(&b, first), STATE_BLOCKED);
    bench_do(&b, third, QUEUE_CANCEL); /* retried below: what it needs is looked at again */
    bench_run(&b, last, "succeeded");
    cr_assert(bench_wait(&b, first, STATE_STARTING), "%s: %s", state_name(state_of(&b, first)),
              queue_entry(b.q, first)->x.message);
    cr_assert_eq(state_of(&b, second), STATE_QUEUED);
    bench_do(&b, third, QUEUE_RETRY);
    cr_assert_eq(state_of(&b, third), STATE_QUEUED);
    bench_do(&b, third, QUEUE_CANCEL);
    bench_settle(&b);
    bench_stop(&b);
    bench_reopen(&b);
    bench_do(&b, third, QUEUE_RETRY);
    cr_assert_eq(state_of(&b, third), STATE_QUEUED, "%s", queue_entry(b.q, third)->x.message);
    bench_close(&b);
}

/* Goal: a submission that was checked before a deletion and is written after it knows the end. */
Test(dependencies, a_deletion_crosses_a_submission, .timeout = 30)
{
    static struct bench b;
    struct told gone = { 0 }, made = { 0 };
    bench_open(&b, 1);
    const int64_t good = bench_submit(&b, NULL, 0);
    bench_run(&b, good, "succeeded");
    const int64_t other = bench_submit(&b, NULL, 0);
    const struct dependency after[] = { { .experiment = good }, { .experiment = other } };
    bench_hold(&b);
    queue_remove_experiment(b.q, good, REMOVAL_DELETE, 0, bench_actor(ADA, "ada"), tell_done,
                            &gone);
    bench_send(&b, bench_actor(ADA, "ada"), NULL, NULL, after, 2, &made);
    bench_release(&b);
    cr_assert(gone.code == ERR_OK && made.code == ERR_OK && gone.calls + made.calls == 2);
    cr_assert_eq(state_of(&b, made.id), STATE_BLOCKED);
    bench_run(&b, other, "succeeded");
    cr_assert(bench_wait(&b, made.id, STATE_STARTING), "%s", queue_entry(b.q, made.id)->x.message);
    cr_assert_eq(bench_count(&b, "SELECT sum(succeeded) FROM dependency WHERE needs=1"), 1);
    bench_close(&b);
}

/* Goal: "what it needs has failed" could not be written, and what it needs was retried before that
 * was tried again: it waits, and begins when the retry succeeds. */
Test(dependencies, a_kept_verdict_is_looked_at_again, .timeout = 30)
{
    static struct bench b;
    bench_open(&b, 1);
    const int64_t needed = bench_submit(&b, NULL, 0);
    const struct dependency after[] = { { .experiment = needed } };
    const int64_t waits = bench_submit(&b, after, 1);
    cr_assert(bench_wait(&b, needed, STATE_STARTING));
    bench_sql(&b, "CREATE TEMP TRIGGER no_room BEFORE UPDATE ON experiment WHEN NEW.id=2"
                  " BEGIN SELECT RAISE(ABORT,'no room'); END");
    bench_run(&b, needed, "failed");
    cr_assert(state_of(&b, needed) == STATE_FAILED && state_of(&b, waits) == STATE_BLOCKED);
    cr_assert(!list_empty(&b.q->unwritten), "nothing was kept");
    bench_sql(&b, "DROP TRIGGER no_room");
    bench_do(&b, needed, QUEUE_RETRY);
    while (!list_empty(&b.q->unwritten)) (void)uv_run(&b.loop, UV_RUN_ONCE);
    bench_settle(&b);
    cr_assert_eq(state_of(&b, waits), STATE_BLOCKED, "%s", state_name(state_of(&b, waits)));
    bench_run(&b, needed, "succeeded");
    cr_assert(bench_wait(&b, waits, STATE_STARTING));
    bench_close(&b);
}

/* Goal: labels that are being written while what it needs ends, and that end, are both there. */
Test(dependencies, an_end_during_a_change_of_labels, .timeout = 30)
{
    static struct bench b;
    struct told t = { 0 }, finished = { 0 };
    const int64_t priority = 7;
    bench_open(&b, 1);
    const int64_t needed = bench_submit(&b, NULL, 0);
    const struct dependency after[] = { { .experiment = needed } };
    const int64_t waits = bench_submit(&b, after, 1);
    cr_assert(bench_wait(&b, needed, STATE_STARTING));
    bench_worker(&b, queue_worker_hello, needed, HELLO);
    bench_hold(&b);
    bench_say(&b, queue_worker_finish, needed, 1, b.launcher.secret, "{\"status\": \"succeeded\"}",
              &finished);
    const struct queue_patch patch = { .priority = &priority };
    queue_patch(b.q, waits, &patch, bench_actor(ADA, "ada"), tell_done, &t);
    bench_release(&b);
    bench_exit(&b, needed, 1, 0);
    cr_assert(t.code == ERR_OK && finished.code == ERR_OK, "%s %s", t.text, finished.text);
    cr_assert(bench_wait(&b, waits, STATE_STARTING));
    cr_assert_eq(queue_entry(b.q, waits)->x.priority, 7);
    bench_close(&b);
}

/* Goal: an experiment remembers those that are blocked by it, not all that ever named it. */
Test(dependencies, only_the_blocked_are_remembered, .timeout = 30)
{
    static struct bench b;
    bench_open(&b, 1);
    const int64_t needed = bench_submit(&b, NULL, 0);
    const struct dependency after[] = { { .experiment = needed } };
    for (int i = 0; i < 3; i++) (void)bench_submit(&b, after, 1);
    const struct entry *e = queue_entry(b.q, needed);
    cr_assert(e->n_dependants == 3 && e->n_named == 3);
    bench_do(&b, 3, QUEUE_CANCEL);
    cr_assert_eq(e->n_dependants, 2);
    bench_run(&b, needed, "failed"); /* which cancels the others */
    cr_assert(e->n_dependants == 0 && e->dependants == NULL && e->n_named == 3, "%zu",
              e->n_dependants);
    bench_do(&b, needed, QUEUE_RETRY);
    bench_do(&b, 2, QUEUE_RETRY);
    cr_assert(state_of(&b, 2) == STATE_BLOCKED && e->n_dependants == 1);
    bench_run(&b, needed, "succeeded");
    cr_assert_eq(e->n_dependants, 0);
    deleted(&b, 3);
    cr_assert_eq(e->n_named, 2);
    bench_close(&b);
}
