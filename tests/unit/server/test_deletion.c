/* Deletion: who may, when, what is left of it, and what a daemon that ends meanwhile leaves to the
 * next one. */
#include "tests/unit/server/queue_bench.h"

#include "common/clock.h"
#include "common/wire.h"

#include <sys/stat.h>

static bool folder_there(const struct bench *b, const char *uid)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", b->files, uid);
    return access(path, F_OK) == 0;
}

static void fill_folder(const struct bench *b, const char *uid)
{
    static const char *const parts[] = { "", "/attempt-1", "/attempt-1/records" };
    char path[160];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s%s", b->files, uid, parts[i]);
        (void)mkdir(path, 0700);
        (void)strcat(path, "/file");
        FILE *f = fopen(path, "w");
        cr_assert(f != NULL && fputs("x", f) >= 0 && fclose(f) == 0);
    }
    (void)snprintf(path, sizeof path, "%s/%s/link", b->files, uid);
    cr_assert_eq(symlink(b->folder, path), 0);
}

static enum err_code remove_as(struct bench *b, int64_t id, enum queue_removal what, int64_t rev,
                               uid_t uid)
{
    struct told t = { 0 };
    queue_remove_experiment(b->q, id, what, rev, bench_actor(uid, uid == ADA ? "ada" : "bob"),
                            tell_done, &t);
    bench_settle(b);
    cr_assert_eq(t.calls, 1);
    return t.code;
}

static enum err_code delete_as(struct bench *b, int64_t id, int64_t rev, uid_t uid)
{
    return remove_as(b, id, REMOVAL_DELETE, rev, uid);
}

static void turn_for(struct bench *b, int ms)
{
    for (const int64_t until = clock_mono_ms() + ms; clock_mono_ms() < until;) {
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static bool wait_gone(struct bench *b, int64_t id)
{
    for (int i = 0; i < 40 && queue_entry(b->q, id) != NULL; i++) turn_for(b, 50);
    return queue_entry(b->q, id) == NULL;
}

#define ROWS(id) "SELECT count(*) FROM experiment WHERE id=" #id
#define AUDIT                                                                          \
    "SELECT count(*) FROM audit WHERE experiment=1 AND event='delete' AND actor='ada'" \
    " AND state='succeeded'"

/* Goal: the revision is honoured, others may not, the audit says who did it; folder and rows go,
 * and nothing that a link in the folder points to. */
Test(deletion, takes_files_and_rows_and_says_so, .timeout = 30)
{
    static struct bench b;
    char uid[UID_TEXT_MAX];
    bench_open(&b, 1);
    const int64_t id = bench_submit(&b, NULL, 0);
    cr_assert_eq(delete_as(&b, id, 0, ADA), ERR_BAD_STATE);
    bench_run(&b, id, "succeeded");
    (void)snprintf(uid, sizeof uid, "%s", queue_find(b.q, id)->uid);
    fill_folder(&b, uid);
    const int64_t rev = queue_find(b.q, id)->rev;
    cr_assert_eq(delete_as(&b, id, rev - 1, ADA), ERR_PRECONDITION);
    cr_assert_eq(delete_as(&b, id, rev, BOB), ERR_FORBIDDEN);
    cr_assert(queue_find(b.q, id) != NULL && b.deleted_told == 0);
    cr_assert_eq(delete_as(&b, id, rev, ADA), ERR_OK);
    cr_assert(queue_find(b.q, id) == NULL && b.deleted_told == 1);
    cr_assert_eq(delete_as(&b, id, 0, ADA), ERR_NOT_FOUND);
    cr_assert(wait_gone(&b, id));
    cr_assert(!folder_there(&b, uid));
    cr_assert_eq(bench_count(&b, ROWS(1)), 0);
    cr_assert_eq(bench_count(&b, AUDIT), 1);
    cr_assert_eq(access(b.folder, F_OK), 0);
    bench_close(&b);
}

/* Goal: while the last worker lives its folder stays; one that does not end is killed when its
 * lease is over, also by the next daemon, which finds it again. */
Test(deletion, waits_for_the_last_worker, .timeout = 30)
{
    static struct bench b;
    char uid[UID_TEXT_MAX];
    bench_open(&b, 1);
    const int64_t id = bench_submit(&b, NULL, 0);
    cr_assert(bench_wait(&b, id, STATE_STARTING));
    bench_settle(&b);
    bench_worker(&b, queue_worker_hello, id, HELLO);
    bench_worker(&b, queue_worker_finish, id, "{\"status\": \"succeeded\"}");
    (void)snprintf(uid, sizeof uid, "%s", queue_find(b.q, id)->uid);
    cr_assert_eq(delete_as(&b, id, 0, ADA), ERR_OK);
    turn_for(&b, 700);
    cr_assert(folder_there(&b, uid) && queue_entry(b.q, id) != NULL);
    bench_stop(&b);
    b.launcher.adoption = ADOPTION_DONE;
    bench_reopen(&b);
    cr_assert(queue_find(b.q, id) == NULL, "it is back");
    turn_for(&b, 700);
    cr_assert(folder_there(&b, uid));
    queue_entry(b.q, id)->lease_until_ms = 1;
    turn_for(&b, 400);
    cr_assert_eq(b.launcher.killed, 1);
    bench_exit(&b, id, 1, 9);
    cr_assert(wait_gone(&b, id));
    cr_assert(!folder_there(&b, uid));
    bench_close(&b);
}

/* Goal: what could not be removed is tried again, and a daemon that starts goes on. */
Test(deletion, the_next_daemon_goes_on, .timeout = 30)
{
    static struct bench b;
    char uid[UID_TEXT_MAX];
    bench_open(&b, 1);
    const int64_t id = bench_submit(&b, NULL, 0);
    bench_run(&b, id, "succeeded");
    (void)snprintf(uid, sizeof uid, "%s", queue_find(b.q, id)->uid);
    fill_folder(&b, uid);
    bench_sql(&b, "CREATE TEMP TRIGGER no_room BEFORE DELETE ON experiment"
                  " BEGIN SELECT RAISE(ABORT,'no room'); END");
    cr_assert_eq(delete_as(&b, id, 0, ADA), ERR_OK);
    for (int i = 0; i < 40 && queue_entry(b.q, id)->purge_again_ms == 0; i++) turn_for(&b, 50);
    cr_assert(queue_entry(b.q, id)->purge_again_ms > 0 && queue_find(b.q, id) == NULL);
    bench_stop(&b);
    fill_folder(&b, uid); /* as if it had ended before that */
    bench_reopen(&b);
    cr_assert(queue_find(b.q, id) == NULL, "it is back");
    cr_assert(wait_gone(&b, id));
    cr_assert(!folder_there(&b, uid) && bench_count(&b, ROWS(1)) == 0);
    bench_close(&b);
}

/* ---- taking back ----------------------------------------------------------------------------- */
#define MONTH_S (30 * 86400)

static void open_with_trash(struct bench *b, char uid[UID_TEXT_MAX], int64_t *id)
{
    bench_open(b, 1);
    bench_stop(b);
    b->options.keep_deleted_s = MONTH_S;
    bench_reopen(b);
    *id = bench_submit(b, NULL, 0);
    bench_run(b, *id, "succeeded");
    (void)snprintf(uid, UID_TEXT_MAX, "%s", queue_find(b->q, *id)->uid);
    fill_folder(b, uid);
}

/* Goal: what was deleted comes back as it was, by its owner alone, also after a restart; what was
 * purged does not, nor what was never deleted. */
Test(deletion, can_be_taken_back_until_it_is_purged, .timeout = 30)
{
    static struct bench b;
    char uid[UID_TEXT_MAX];
    int64_t id;
    open_with_trash(&b, uid, &id);
    cr_expect_eq(remove_as(&b, id, REMOVAL_UNDO, 0, ADA), ERR_BAD_STATE);
    cr_assert_eq(delete_as(&b, id, 0, ADA), ERR_OK);
    cr_expect_eq(delete_as(&b, id, 0, ADA), ERR_NOT_FOUND);
    turn_for(&b, 600);
    bench_stop(&b);
    bench_reopen(&b);
    turn_for(&b, 600);
    cr_assert(queue_find(b.q, id) == NULL && queue_find_deleted(b.q, id) != NULL);
    cr_assert(folder_there(&b, uid));
    cr_expect_eq(remove_as(&b, id, REMOVAL_UNDO, 0, BOB), ERR_FORBIDDEN);
    const int64_t rev = queue_find_deleted(b.q, id)->rev;
    cr_assert_eq(remove_as(&b, id, REMOVAL_UNDO, 0, ADA), ERR_OK);
    const struct experiment *x = queue_find(b.q, id);
    cr_assert(x != NULL && x->state == STATE_SUCCEEDED && x->deleted_ms == 0 && x->rev == rev + 1);
    cr_expect(queue_find_deleted(b.q, id) == NULL);

    cr_assert_eq(delete_as(&b, id, x->rev, ADA), ERR_OK, "the revision is not that of the row");
    cr_assert_eq(remove_as(&b, id, REMOVAL_PURGE, 0, ADA), ERR_OK);
    cr_expect_eq(remove_as(&b, id, REMOVAL_UNDO, 0, ADA), ERR_NOT_FOUND);
    cr_assert(wait_gone(&b, id));
    cr_assert(!folder_there(&b, uid) && bench_count(&b, ROWS(1)) == 0);
    bench_close(&b);
}

/* Goal: what was deleted a month ago is purged, what was deleted later is not; what ended too long
 * ago is deleted by the daemon, as any other. */
Test(deletion, age_decides, .timeout = 30)
{
    static struct bench b;
    char uid[UID_TEXT_MAX];
    int64_t old;
    open_with_trash(&b, uid, &old);
    const int64_t young = bench_submit(&b, NULL, 0);
    bench_run(&b, young, "succeeded");
    const int64_t ended = bench_submit(&b, NULL, 0);
    bench_run(&b, ended, "succeeded");
    cr_assert_eq(delete_as(&b, old, 0, ADA), ERR_OK);
    cr_assert_eq(delete_as(&b, young, 0, ADA), ERR_OK);
    bench_sql(&b, "UPDATE experiment SET deleted_ms=deleted_ms-86400000*31.0 WHERE id=1");
    bench_sql(&b, "UPDATE experiment SET ended_ms=ended_ms-86400000*8.0 WHERE id=3");
    bench_stop(&b);
    b.options.keep_ended_s = 9 * 86400;
    bench_reopen(&b);
    cr_assert(wait_gone(&b, old));
    turn_for(&b, 400);
    cr_expect(queue_find_deleted(b.q, young) != NULL);
    cr_expect(queue_find(b.q, ended) != NULL);
    bench_stop(&b);
    b.options.keep_ended_s = 7 * 86400;
    bench_reopen(&b);
    for (int i = 0; i < 40 && queue_find(b.q, ended) != NULL; i++) turn_for(&b, 50);
    cr_expect(queue_find_deleted(b.q, ended) != NULL);
    cr_expect_eq(bench_count(&b, "SELECT count(*) FROM audit WHERE experiment=3 AND event='delete'"
                                 " AND actor='daemon'"),
                 1);
    bench_close(&b);
}

/* ---- queue_hold ------------------------------------------------------------------------------ */
struct frames_told {
    bool told;
    int64_t acked, durable;
};

static void frames_answer(void *ctx, const char *json, const struct err *e)
{
    struct frames_told *t = ctx;
    struct err none = { 0 };
    cJSON *o = NULL;
    cr_assert(e->code == ERR_OK && json_parse(json, strlen(json), &o, &none) == 0, "%s", e->text);
    *t = (struct frames_told){ true, json_get_int(o, "acked_frame", -1),
                               json_get_int(o, "durable_frame", -1) };
    cJSON_Delete(o);
}

/* The answer to one frame, which comes a second after the one before: it is synced at once. */
static struct frames_told send_frame(struct bench *b, int64_t id, uint64_t frame)
{
    const struct point p = { frame, 1000, 0.5 };
    const struct wire_series series = { "train/loss", &p, 1 };
    struct wire_buf body = { 0 };
    struct frames_told t = { 0 };
    struct err e = { 0 };
    turn_for(b, 1050);
    cr_assert_eq(wire_put_points(&body, frame, &series, 1, &e), 0);
    queue_worker_frames(b->q, (struct queue_credentials){ id, 1, b->launcher.secret }, 0, 0,
                        body.data, body.length, frames_answer, &t);
    while (!t.told) (void)uv_run(&b->loop, UV_RUN_ONCE);
    wire_buf_deinit(&body);
    return t;
}

/* Goal: while a backup is made no worker hears that it may forget frames, and nothing that a
 * deleted experiment left goes; both come after it. */
Test(deletion, nothing_goes_while_it_is_held, .timeout = 30)
{
    static struct bench b;
    bench_open(&b, 1);
    const int64_t id = bench_submit(&b, NULL, 0);
    bench_run(&b, id, "succeeded");
    queue_hold(b.q, true);
    cr_assert_eq(delete_as(&b, id, 0, ADA), ERR_OK);
    const int64_t next = bench_submit(&b, NULL, 0);
    cr_assert(bench_wait(&b, next, STATE_STARTING));
    bench_settle(&b);
    bench_worker(&b, queue_worker_hello, next, HELLO);
    const struct frames_told held = send_frame(&b, next, 1);
    cr_expect(held.acked == 1 && held.durable == 0, "%lld", (long long)held.durable);
    cr_expect(queue_entry(b.q, id) != NULL);
    queue_hold(b.q, false);
    cr_expect_eq(send_frame(&b, next, 2).durable, 2);
    cr_assert(wait_gone(&b, id));
    bench_close(&b);
}
