/* move: an experiment gets another place in the queue. One move at a time, each judged by the order
 * that the one before it left: a place between two means nothing when both go elsewhere meanwhile.
 * Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/stmt.h"

#include <stdio.h>
#include <string.h>

#define MOVES_MAX 1000 /* waiting */
#define STEPS_MAX 1000 /* experiments whose lift one move changes */

struct move_row {
    int64_t id, place, lift;
};
struct move {
    struct store_job job;
    struct list link; /* of queue.moves */
    struct queue *q;
    int64_t id;
    struct queue_move to;
    char actor[QUEUE_USER_MAX];
    bool admin;
    struct move_row *rows;
    size_t n;
    queue_done_fn done;
    void *ctx;
};

static void move_free(struct move *m)
{
    mem_free(m->rows);
    mem_free(m);
}

/* ---- judging --------------------------------------------------------------------------------- */
static struct entry *queued_one(const struct move *m, int64_t id, struct err *e)
{
    struct entry *x = queue_entry(m->q, id);
    if (x == NULL || x->deleted)
        (void)err_set(e, ERR_NOT_FOUND, "there is no experiment %lld", (long long)id);
    else if (!m->admin && strcmp(m->actor, x->x.user) != 0)
        (void)err_set(e, ERR_FORBIDDEN, "experiment %lld belongs to %s", (long long)id, x->x.user);
    else if (!x->item.listed)
        (void)err_set(e, ERR_BAD_STATE, "experiment %lld is %s: it has no place in the queue",
                      (long long)id, state_name(x->x.state));
    else return x;
    return NULL;
}

static int steps_before(struct move *m, struct entry *x, struct order_step *steps, size_t max,
                        struct err *e)
{
    const struct entry *before = queued_one(m, m->to.before, e);
    if (before == NULL) return (int)e->code;
    if (before == x) return err_set(e, ERR_INVALID, "an experiment cannot be moved before itself");
    if (order_same_line(&x->item, &before->item)) {
        m->n = order_move(&x->item, &before->item, steps);
        return 0;
    }
    if (!m->admin)
        return err_set(e, ERR_BAD_STATE,
                       "experiment %lld has priority %lld, %lld has %lld%s: places are among those "
                       "of one priority",
                       (long long)x->x.id, (long long)x->x.priority, (long long)before->x.id,
                       (long long)before->x.priority,
                       x->x.lift != before->x.lift ? " and an admin has moved one of them" : "");
    m->n = order_lift_before(&m->q->order, &x->item, &before->item, clock_wall_ms(), steps, max);
    if (m->n <= max) return 0;
    return err_set(e, ERR_BAD_STATE, "more than %zu experiments stand before %lld", max - 1,
                   (long long)before->x.id);
}

/* The steps of the move, as of now. */
static int judge(struct move *m, struct err *e)
{
    struct entry *x = queued_one(m, m->id, e);
    if (x == NULL) return (int)e->code;
    const size_t max = x->item.user->n > STEPS_MAX ? x->item.user->n : STEPS_MAX;
    struct order_step *steps = mem_calloc(max, sizeof steps[0]);
    if (steps == NULL) return err_set(e, ERR_NOMEM, "move");
    scheduler_refresh(m->q);
    int rc = 0;
    if (m->to.to == MOVE_BEFORE) rc = steps_before(m, x, steps, max, e);
    else if (m->admin) m->n = order_lift(&m->q->order, &x->item, m->to.to == MOVE_FRONT, steps);
    else
        m->n = order_move(&x->item, m->to.to == MOVE_FRONT ? order_line_first(&x->item) : NULL,
                          steps);
    if (rc == 0) m->rows = mem_calloc(m->n, sizeof m->rows[0]);
    if (rc == 0 && m->rows == NULL) rc = err_set(e, ERR_NOMEM, "move");
    for (size_t i = 0; rc == 0 && i < m->n; i++)
        m->rows[i] = (struct move_row){ steps[i].item->id, steps[i].place, steps[i].lift };
    mem_free(steps);
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */
static int write_move(struct store_job *job, sqlite3 *db, struct err *e)
{
    const struct move *m = container_of(job, struct move, job);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < m->n; i++)
        rc = stmt_once(db, "UPDATE experiment SET place=?2,lift=?3 WHERE id=?1", e, "iii",
                       m->rows[i].id, m->rows[i].place, m->rows[i].lift);
    if (rc != 0) return rc;
    return stmt_once(
        db, "INSERT INTO audit(at_ms,actor,experiment,event,state) VALUES(?,?,?,'move','queued')",
        e, "iti", clock_wall_ms(), m->actor, m->id);
}

static void next_move(struct queue *q);

static void move_done(struct store_job *job, const struct err *e)
{
    struct move *m = container_of(job, struct move, job);
    struct queue *q = m->q;
    struct err fault = *e;
    for (size_t i = 0; fault.code == ERR_OK && i < m->n; i++) {
        struct entry *x = queue_entry(q, m->rows[i].id);
        if (x == NULL || x->deleted) continue;
        x->x.place = m->rows[i].place;
        x->x.lift = m->rows[i].lift;
        queue_place(q, x);
    }
    struct entry *x = queue_entry(q, m->id);
    if (fault.code == ERR_OK && (x == NULL || x->deleted))
        (void)err_set(&fault, ERR_NOT_FOUND, "experiment %lld is gone", (long long)m->id);
    if (fault.code == ERR_OK) queue_publish_state(q, x);
    m->done(m->ctx, fault.code == ERR_OK ? &x->x : NULL, &fault);
    move_free(m);
    q->moving = false;
    next_move(q);
}

static void next_move(struct queue *q)
{
    while (!q->moving && !list_empty(&q->moves)) {
        struct move *m = container_of(q->moves.next, struct move, link);
        struct err e = { 0 };
        list_remove(&m->link);
        q->n_moves--;
        if (judge(m, &e) != 0) {
            m->done(m->ctx, NULL, &e);
            move_free(m);
            continue;
        }
        q->moving = true;
        m->job = (struct store_job){ .run = write_move, .done = move_done };
        store_submit(q->main, &m->job);
    }
}

void queue_move(struct queue *q, int64_t id, const struct queue_move *to, struct queue_actor actor,
                queue_done_fn done, void *ctx)
{
    struct err e = { 0 };
    struct move *m = NULL;
    if (q->n_moves >= MOVES_MAX)
        (void)err_set(&e, ERR_UNAVAILABLE, "%d moves are waiting", MOVES_MAX);
    else if ((m = mem_calloc(1, sizeof *m)) == NULL) (void)err_set(&e, ERR_NOMEM, "move");
    if (m == NULL) {
        done(ctx, NULL, &e);
        return;
    }
    *m = (struct move){
        .q = q, .id = id, .to = *to, .admin = actor.admin, .done = done, .ctx = ctx
    };
    (void)snprintf(m->actor, sizeof m->actor, "%s", actor.user);
    list_append(&q->moves, &m->link);
    q->n_moves++;
    next_move(q);
}
