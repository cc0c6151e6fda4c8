/* idempotency: what an Idempotency-Key of a user made is found again for a day. A request that is
 * repeated gets its first answer whatever has changed since, so the key is looked up before
 * anything else is; and once more with the row, as two of them may be under way. See queue.h. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

#define KEY_LIFETIME_MS (24 * 3600 * 1000)
#define EXPIRE_EVERY_MS (600 * 1000)
#define EXPIRE_PART 5000 /* rows a transaction: others wait for it */
#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)

/* ---- rows (writer thread) -------------------------------------------------------------------- */
static int take_made(const struct stmt *s, struct key_made *made, struct err *e)
{
    made->experiment = stmt_int(s, 1);
    if (stmt_is_null(s, 2)) return 0;
    made->answer = mem_strdup(stmt_text(s, 2));
    return made->answer != NULL ? 0 : err_set(e, ERR_NOMEM, "key");
}

int idempotency_find(sqlite3 *db, const struct key_row *k, struct key_made *made, struct err *e)
{
    struct stmt s;
    *made = (struct key_made){ 0 };
    int rc = stmt_prepare(&s, db,
                          "SELECT body_sha,experiment,answer FROM idempotency"
                          " WHERE user=?1 AND key=?2 AND at_ms>=?3",
                          e);
    if (rc != 0) return rc;
    stmt_bind(&s, "tti", k->user, k->key, clock_wall_ms() - KEY_LIFETIME_MS);
    const int got = stmt_step(&s, e);
    if (got == 1) {
        size_t bytes;
        const void *sha = stmt_blob(&s, 0, &bytes);
        if (bytes == DIGEST_BYTES && memcmp(sha, k->body_sha, DIGEST_BYTES) == 0)
            rc = take_made(&s, made, e);
        else
            rc = err_set(e, ERR_IDEMPOTENCY, "Idempotency-Key '%.60s' was used with another body",
                         k->key);
    }
    stmt_finish(&s);
    return got < 0 ? (int)e->code : rc;
}

/* An older row of the key may be there still: it has expired. */
int idempotency_keep(sqlite3 *db, const struct key_row *k, const struct key_made *made,
                     struct err *e)
{
    return stmt_once(db,
                     "INSERT OR REPLACE INTO idempotency(user,key,body_sha,experiment,at_ms,answer)"
                     " VALUES(?,?,?,?,?,?)",
                     e, "ttbiit", k->user, k->key, k->body_sha, DIGEST_BYTES, made->experiment,
                     clock_wall_ms(), made->answer);
}

int key_row_init(struct key_row *k, const struct queue_key *from, struct err *e)
{
    const size_t length = strlen(from->key);
    if (length < 1 || length > QUEUE_KEY_MAX)
        return err_set(e, ERR_INVALID, "Idempotency-Key has %zu bytes: 1 to %d are allowed", length,
                       QUEUE_KEY_MAX);
    const size_t path = from->path != NULL ? strlen(from->path) : 0;
    char *whole = mem_alloc(path + from->body_length + 1);
    k->key = mem_strdup(from->key);
    k->user = mem_strdup(from->user);
    if (whole == NULL || k->key == NULL || k->user == NULL) {
        mem_free(whole);
        key_row_deinit(k);
        return err_set(e, ERR_NOMEM, "key");
    }
    if (path > 0) memcpy(whole, from->path, path);
    if (from->body_length > 0) memcpy(whole + path, from->body, from->body_length);
    digest_bytes(whole, path + from->body_length, k->body_sha);
    mem_free(whole);
    return 0;
}

void key_row_deinit(struct key_row *k)
{
    mem_free(k->key);
    mem_free(k->user);
    *k = (struct key_row){ 0 };
}

/* ---- looking up ------------------------------------------------------------------------------ */
struct look_up {
    struct store_job job;
    struct queue *q;
    struct key_row key;
    struct key_made made;
    queue_done_fn done;         /* of what makes an experiment, */
    queue_answered_fn answered; /* and of what is answered by a text */
    void *ctx;
};

static int look_up(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct look_up *l = container_of(job, struct look_up, job);
    return idempotency_find(db, &l->key, &l->made, e);
}

const struct entry *idempotency_entry(const struct queue *q, int64_t experiment, struct err *e)
{
    const struct entry *entry = queue_entry(q, experiment);
    if (entry != NULL && !entry->deleted) return entry;
    (void)err_set(e, ERR_NOT_FOUND, "experiment %lld of that Idempotency-Key was deleted",
                  (long long)experiment);
    return NULL;
}

static void tell_experiment(const struct look_up *l, const struct err *e)
{
    struct err fault = *e;
    const struct entry *entry = NULL;
    if (fault.code == ERR_OK && l->made.experiment != 0)
        entry = idempotency_entry(l->q, l->made.experiment, &fault);
    l->done(l->ctx, entry != NULL ? &entry->x : NULL, &fault);
}

static void looked_up(struct store_job *job, const struct err *e)
{
    struct look_up *l = container_of(job, struct look_up, job);
    if (l->done != NULL) tell_experiment(l, e);
    else l->answered(l->ctx, e->code == ERR_OK ? l->made.answer : NULL, e);
    mem_free(l->made.answer);
    key_row_deinit(&l->key);
    mem_free(l);
}

/* By the writer, behind all submissions before this one. NULL: out of memory, or the key is none.
 */
static struct look_up *look_up_new(struct queue *q, const struct queue_key *key, void *ctx,
                                   struct err *e)
{
    struct look_up *l = mem_calloc(1, sizeof *l);
    if (l == NULL) (void)err_set(e, ERR_NOMEM, "key");
    if (l == NULL || key_row_init(&l->key, key, e) != 0) {
        mem_free(l);
        return NULL;
    }
    l->q = q;
    l->ctx = ctx;
    l->job = (struct store_job){ .run = look_up, .done = looked_up };
    return l;
}

void queue_repeated(struct queue *q, const struct queue_key *key, queue_done_fn done, void *ctx)
{
    struct err e = { 0 };
    struct look_up *l = look_up_new(q, key, ctx, &e);
    if (l == NULL) {
        done(ctx, NULL, &e);
        return;
    }
    l->done = done;
    store_submit(q->main, &l->job);
}

void queue_answered(struct queue *q, const struct queue_key *key, queue_answered_fn answered,
                    void *ctx)
{
    struct err e = { 0 };
    struct look_up *l = look_up_new(q, key, ctx, &e);
    if (l == NULL) {
        answered(ctx, NULL, &e);
        return;
    }
    l->answered = answered;
    store_submit(q->main, &l->job);
}

/* ---- answers --------------------------------------------------------------------------------- */
static int keep_answer(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct look_up *l = container_of(job, struct look_up, job);
    return idempotency_keep(db, &l->key, &l->made, e);
}

void queue_keep_answer(struct queue *q, const struct queue_key *key, const char *text,
                       queue_answered_fn done, void *ctx)
{
    struct err e = { 0 };
    struct look_up *l = look_up_new(q, key, ctx, &e);
    if (l != NULL && (l->made.answer = mem_strdup(text)) == NULL) {
        (void)err_set(&e, ERR_NOMEM, "answer");
        key_row_deinit(&l->key);
        mem_free(l);
        l = NULL;
    }
    if (l == NULL) {
        done(ctx, NULL, &e);
        return;
    }
    l->answered = done;
    l->job.run = keep_answer;
    store_submit(q->main, &l->job);
}

/* ---- forgetting ------------------------------------------------------------------------------ */
struct expiry {
    struct store_job job;
    struct queue *q;
    int gone;
};

static int expire(struct store_job *job, sqlite3 *db, struct err *e)
{
    struct expiry *x = container_of(job, struct expiry, job);
    const int rc = stmt_once(db,
                             "DELETE FROM idempotency WHERE (user,key) IN (SELECT user,"
                             "key FROM idempotency WHERE at_ms<?1 LIMIT " TEXT_OF(EXPIRE_PART) ")",
                             e, "i", clock_wall_ms() - KEY_LIFETIME_MS);
    x->gone = sqlite3_changes(db);
    return rc;
}

static void expired(struct store_job *job, const struct err *e)
{
    struct expiry *x = container_of(job, struct expiry, job);
    if (e->code != ERR_OK) log_error("server.queue", "keys were not forgotten: %s", e->text);
    else if (x->gone == EXPIRE_PART) x->q->keys_expire_ms = 0; /* there is more */
    mem_free(x);
}

void idempotency_tick(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    if (q->closing || (q->keys_expire_ms != 0 && mono < q->keys_expire_ms)) return;
    struct expiry *x = mem_calloc(1, sizeof *x);
    if (x == NULL) return;
    q->keys_expire_ms = mono + EXPIRE_EVERY_MS;
    x->q = q;
    x->job = (struct store_job){ .run = expire, .done = expired };
    store_submit(q->main, &x->job);
}
