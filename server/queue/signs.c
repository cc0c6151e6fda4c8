/* signs: when each worker was last known to live. A daemon that finds a worker gone (the machine
 * went down, or it died while no daemon ran) does not know when it ended: its time ends with the
 * last sign on record, a message that a daemon had or something it wrote into its folder. Loop
 * thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SIGNS_EVERY_MS 10000

struct sign {
    int64_t experiment, attempt, seen_ms;
};
struct signs_job {
    struct store_job job;
    struct queue *q;
    size_t n;
    struct sign signs[];
};

void signs_heard(struct entry *e) { e->signs.seen_ms = clock_wall_ms(); }

static int write_signs(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct signs_job *s = container_of(job, struct signs_job, job);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->n; i++)
        rc = stmt_once(db, "UPDATE attempt SET seen_ms=?3 WHERE experiment=?1 AND n=?2", e, "iii",
                       s->signs[i].experiment, s->signs[i].attempt, s->signs[i].seen_ms);
    return rc;
}

/* What could not be written is taken with the next lot. */
static void signs_done(struct store_job *job, const struct err *e)
{
    struct signs_job *s = container_of(job, struct signs_job, job);
    s->q->writing_signs = false;
    for (size_t i = 0; e->code == ERR_OK && i < s->n; i++) {
        struct entry *entry = queue_entry(s->q, s->signs[i].experiment);
        if (entry != NULL && entry->x.attempt == s->signs[i].attempt)
            entry->signs.written_ms = s->signs[i].seen_ms;
    }
    if (e->code != ERR_OK) log_warn("server.queue", "signs of life are not stored: %s", e->text);
    mem_free(s);
}

static bool is_new(const struct entry *e)
{
    return entry_active(e) && e->signs.seen_ms != e->signs.written_ms;
}

void signs_write(struct queue *q, bool now)
{
    const int64_t mono = clock_mono_ms();
    size_t n = 0;
    if (q->writing_signs || (!now && mono < q->signs_ms)) return;
    q->signs_ms = mono + SIGNS_EVERY_MS;
    list_for_each(it, &q->timed) n += is_new(container_of(it, struct entry, timed));
    struct signs_job *s = n > 0 ? mem_calloc(1, sizeof *s + n * sizeof s->signs[0]) : NULL;
    if (s == NULL) return;
    list_for_each(it, &q->timed) {
        const struct entry *e = container_of(it, struct entry, timed);
        if (is_new(e)) s->signs[s->n++] = (struct sign){ e->x.id, e->x.attempt, e->signs.seen_ms };
    }
    s->q = q;
    s->job = (struct store_job){ .run = write_signs, .done = signs_done };
    q->writing_signs = true;
    store_submit(q->main, &s->job);
}

/* When the attempt's worker last wrote points, also without a daemon; 0 = never. */
static int64_t spool_ms(const struct queue *q, const struct entry *e)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct stat st;
    if (entry_dir(q, e, e->x.attempt, dir, sizeof dir) != 0 ||
        snprintf(path, sizeof path, "%s/spool", dir) >= (int)sizeof path || stat(path, &st) != 0)
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

void signs_gone(const struct queue *q, struct entry *e)
{
    const int64_t now = clock_wall_ms();
    const int64_t signs[] = { e->x.run_began_ms, e->signs.seen_ms, spool_ms(q, e) };
    int64_t last = e->signs.began_ms;
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (signs[i] > last && signs[i] <= now) last = signs[i]; /* later than now: another clock */
    e->signs.gone_ms = last;
}
