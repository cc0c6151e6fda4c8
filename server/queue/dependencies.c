/* dependencies: experiments that wait for others. One that is needed exists before the one that
 * needs it, and the list never changes: no circle can come to be. Every end of an experiment is
 * told to those that are blocked by it; a start of the daemon looks at all that wait. Loop thread.
 */
#include "server/queue/queue_internal.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

/* ---- who is to be told ----------------------------------------------------------------------- */
void dependencies_name(struct queue *q, struct entry *e)
{
    for (size_t i = 0; i < e->x.n_after; i++) {
        struct entry *needed = queue_entry(q, e->x.after[i].experiment);
        if (needed == NULL) continue;
        needed->n_named++;
        /* Deleted while the row that names it was written. */
        if (needed->deleted) e->x.after[i].succeeded = needed->x.state == STATE_SUCCEEDED;
    }
}

void dependencies_unname(struct queue *q, struct entry *e)
{
    for (size_t i = 0; i < e->x.n_after; i++) {
        struct entry *needed = queue_entry(q, e->x.after[i].experiment);
        if (needed != NULL) needed->n_named--;
    }
}

static int add_dependant(struct entry *needed, int64_t id, struct err *e)
{
    if (needed->n_dependants == needed->dependants_capacity) {
        const size_t capacity = 2 * needed->dependants_capacity + 4;
        int64_t *grown = mem_realloc_array(needed->dependants, capacity, sizeof grown[0]);
        if (grown == NULL) return err_set(e, ERR_NOMEM, "dependencies");
        needed->dependants = grown;
        needed->dependants_capacity = capacity;
    }
    needed->dependants[needed->n_dependants++] = id;
    return 0;
}

static void drop_dependant(struct entry *needed, int64_t id)
{
    for (size_t i = 0; i < needed->n_dependants; i++) {
        if (needed->dependants[i] != id) continue;
        needed->dependants[i] = needed->dependants[--needed->n_dependants];
        break;
    }
    if (needed->n_dependants > 0) return;
    mem_free(needed->dependants);
    needed->dependants = NULL;
    needed->dependants_capacity = 0;
}

int dependencies_attach(struct queue *q, struct entry *e, struct err *out)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && e->x.state == STATE_BLOCKED && i < e->x.n_after; i++) {
        struct entry *needed = queue_entry(q, e->x.after[i].experiment);
        if (needed != NULL) rc = add_dependant(needed, e->x.id, out);
    }
    return rc;
}

void dependencies_moved(struct queue *q, struct entry *e, bool was_blocked)
{
    const bool blocked = e->x.state == STATE_BLOCKED;
    struct err fault = { 0 };
    if (blocked && !was_blocked && dependencies_attach(q, e, &fault) != 0)
        log_error("server.queue", "experiment %lld waits until a restart: %s", (long long)e->x.id,
                  fault.text);
    for (size_t i = 0; was_blocked && !blocked && i < e->x.n_after; i++) {
        struct entry *needed = queue_entry(q, e->x.after[i].experiment);
        if (needed != NULL) drop_dependant(needed, e->x.id);
    }
}

/* All experiments are looked at, but only when one of them names it. */
void dependencies_forget(struct queue *q, const struct entry *e)
{
    if (e->n_named == 0) return;
    list_for_each(it, &q->entries) {
        struct experiment *x = &container_of(it, struct entry, link)->x;
        for (size_t i = 0; i < x->n_after; i++)
            if (x->after[i].experiment == e->x.id)
                x->after[i].succeeded = e->x.state == STATE_SUCCEEDED;
    }
}

/* ---- what is decided ------------------------------------------------------------------------- */
/* How it stands with what is there; with what was deleted, how it had ended. */
static enum dependencies_state state_of(const struct queue *q, const struct dependency *d)
{
    const struct entry *needed = queue_entry(q, d->experiment);
    const bool there = needed != NULL && !needed->deleted;
    if (there && !state_is_final(needed->x.state)) return DEPENDENCIES_OPEN;
    const bool succeeded = there ? needed->x.state == STATE_SUCCEEDED : d->succeeded;
    return d->any || succeeded ? DEPENDENCIES_MET : DEPENDENCIES_BROKEN;
}

/* "11 (running) to succeed", one after the other as long as there is room. */
static void add_words(char *words, size_t size, const struct queue *q, const struct dependency *d)
{
    const struct entry *needed = queue_entry(q, d->experiment);
    const size_t at = strlen(words);
    (void)snprintf(words + at, size - at, "%s%lld (%s) to %s", at > 0 ? ", " : "experiment ",
                   (long long)d->experiment,
                   needed != NULL && !needed->deleted ? state_name(needed->x.state) : "deleted",
                   d->any ? "end" : "succeed");
}

enum dependencies_state dependencies_of(const struct queue *q, const struct experiment *x,
                                        char *words, size_t size)
{
    char open[DEPENDENCIES_WORDS_MAX] = "", broken[DEPENDENCIES_WORDS_MAX] = "";
    for (size_t i = 0; i < x->n_after; i++) {
        const enum dependencies_state s = state_of(q, &x->after[i]);
        if (s == DEPENDENCIES_OPEN) add_words(open, sizeof open, q, &x->after[i]);
        if (s == DEPENDENCIES_BROKEN) add_words(broken, sizeof broken, q, &x->after[i]);
    }
    words[0] = '\0';
    if (broken[0] != '\0') {
        (void)snprintf(words, size, "needs %s", broken);
        return DEPENDENCIES_BROKEN;
    }
    if (open[0] == '\0') return DEPENDENCIES_MET;
    (void)snprintf(words, size, "waits for %s", open);
    return DEPENDENCIES_OPEN;
}

void dependencies_check(struct queue *q, struct entry *e)
{
    char words[DEPENDENCIES_WORDS_MAX];
    if (e == NULL || e->x.state != STATE_BLOCKED || e->deleted) return;
    const enum dependencies_state s = dependencies_of(q, &e->x, words, sizeof words);
    if (s == DEPENDENCIES_OPEN) return;
    struct change *c = change_new(
        q, e, s == DEPENDENCIES_MET ? EVENT_DEPENDENCIES_MET : EVENT_DEPENDENCY_BROKEN);
    if (c == NULL) return;
    if (s == DEPENDENCIES_BROKEN) c->reason = REASON_DEPENDENCY;
    (void)snprintf(c->message, sizeof c->message, "%s", words);
    change_submit(c);
}

void dependencies_ended(struct queue *q, struct entry *e)
{
    for (size_t i = 0; i < e->n_dependants; i++)
        dependencies_check(q, queue_entry(q, e->dependants[i]));
}

/* ---- rows ------------------------------------------------------------------------------------ */
int dependencies_write(const struct experiment *x, sqlite3 *db, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < x->n_after; i++)
        rc = stmt_once(db,
                       "INSERT INTO dependency(experiment,needs,any,succeeded) VALUES(?1,?2,?3,"
                       "coalesce((SELECT state='succeeded' FROM experiment WHERE id=?2),0))",
                       e, "iii", x->id, x->after[i].experiment, (int64_t)x->after[i].any);
    return rc;
}

static int add_row(struct entry *e, struct dependency d, struct err *out)
{
    struct dependency *grown = mem_realloc_array(e->x.after, e->x.n_after + 1, sizeof grown[0]);
    if (grown == NULL) return err_set(out, ERR_NOMEM, "dependencies");
    e->x.after = grown;
    grown[e->x.n_after++] = d;
    return 0;
}

int dependencies_load(struct queue *q, struct err *e)
{
    struct stmt s;
    int got = 0, rc = stmt_prepare(&s, store_db_at_start(q->main),
                                   "SELECT experiment,needs,any,succeeded FROM dependency", e);
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct entry *entry = queue_entry(q, stmt_int(&s, 0));
        const struct dependency d = { .experiment = stmt_int(&s, 1),
                                      .any = stmt_int(&s, 2) != 0,
                                      .succeeded = stmt_int(&s, 3) != 0 };
        if (entry != NULL) rc = add_row(entry, d, e);
    }
    stmt_finish(&s);
    list_for_each(it, &q->entries) {
        struct entry *entry = container_of(it, struct entry, link);
        dependencies_name(q, entry);
        if (rc == 0) rc = dependencies_attach(q, entry, e);
    }
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}
