/* dependencies: experiments that wait for others. One that is needed exists before the one that
 * needs it, and the list never changes: no circle can come to be. Every end of an experiment is
 * told to those that wait for it; a start of the daemon looks at all that wait. Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

int dependencies_attach(struct queue *q, struct entry *e, struct err *out)
{
    for (size_t i = 0; i < e->x.n_after; i++) {
        struct entry *needed = queue_entry(q, e->x.after[i].experiment);
        if (needed == NULL) continue; /* deleted: it ended before */
        int64_t *grown = mem_realloc_array(needed->dependants, needed->n_dependants + 1,
                                           sizeof grown[0]);
        if (grown == NULL) return err_set(out, ERR_NOMEM, "dependencies");
        needed->dependants = grown;
        grown[needed->n_dependants++] = e->x.id;
    }
    return 0;
}

static enum dependencies_state state_of(const struct queue *q, const struct dependency *d)
{
    const struct entry *needed = queue_entry(q, d->experiment);
    if (needed == NULL || needed->deleted) return d->any ? DEPENDENCIES_MET : DEPENDENCIES_BROKEN;
    if (!state_is_final(needed->x.state)) return DEPENDENCIES_OPEN;
    return d->any || needed->x.state == STATE_SUCCEEDED ? DEPENDENCIES_MET : DEPENDENCIES_BROKEN;
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
        rc = stmt_once(db, "INSERT INTO dependency(experiment,needs,any) VALUES(?,?,?)", e, "iii",
                       x->id, x->after[i].experiment, (int64_t)x->after[i].any);
    return rc;
}

static int add_row(struct entry *e, int64_t needs, bool any, struct err *out)
{
    struct dependency *grown = mem_realloc_array(e->x.after, e->x.n_after + 1, sizeof grown[0]);
    if (grown == NULL) return err_set(out, ERR_NOMEM, "dependencies");
    e->x.after = grown;
    grown[e->x.n_after++] = (struct dependency){ needs, any };
    return 0;
}

int dependencies_load(struct queue *q, struct err *e)
{
    struct stmt s;
    int got = 0, rc = stmt_prepare(&s, store_db_at_start(q->main),
                                   "SELECT experiment,needs,any FROM dependency", e);
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct entry *entry = queue_entry(q, stmt_int(&s, 0));
        if (entry != NULL) rc = add_row(entry, stmt_int(&s, 1), stmt_int(&s, 2) != 0, e);
    }
    stmt_finish(&s);
    list_for_each(it, &q->entries) {
        struct entry *entry = container_of(it, struct entry, link);
        if (rc == 0) rc = dependencies_attach(q, entry, e);
    }
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}
