/* explain: why an experiment does not run, in codes and in words, and what decides its place. See
 * queue.h. Loop thread. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define AHEAD_MAX 20
#define DETAIL_MAX DEPENDENCIES_WORDS_MAX

struct reason_why {
    enum experiment_reason blocked_by;
    char detail[DETAIL_MAX];
};

int64_t queue_position(const struct queue *q, int64_t id)
{
    const struct entry *e = queue_entry(q, id);
    if (e == NULL || !e->item.listed) return -1;
    return order_position(&q->order, &e->item, clock_wall_ms());
}

static void say(struct reason_why *why, enum experiment_reason by, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void say(struct reason_why *why, enum experiment_reason by, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    why->blocked_by = by;
    (void)vsnprintf(why->detail, sizeof why->detail, fmt, args);
    va_end(args);
}

static void why_queued(const struct queue *q, const struct entry *e, struct reason_why *why)
{
    const struct order_user *u = e->item.user;
    const int64_t mine = u->running + u->claiming, limit = q->o.running_per_user_max;
    const int64_t busy = q->running + q->claiming;
    struct err not_ready = { 0 };
    if (!queue_ready(q, &not_ready))
        say(why, queue_is(q, QUEUE_DRAINING) || q->closing ? REASON_DRAINING : REASON_DISK_LOW,
            "%s", not_ready.text);
    else if (q->switched[QUEUE_PAUSED])
        say(why, REASON_QUEUE_PAUSED, "an admin has paused the queue");
    else if (limit > 0 && mine >= limit)
        say(why, REASON_USER_LIMIT, "%s runs %lld of %lld allowed at once", u->name,
            (long long)mine, (long long)limit);
    else if (e->sweep != NULL && sweep_stopped(e->sweep))
        say(why, REASON_SWEEP_STOPPED, "%s", reason_meaning(REASON_SWEEP_STOPPED));
    else if (e->sweep != NULL && !sweep_has_room(e->sweep))
        say(why, REASON_SWEEP_LIMIT, "sweep %lld runs %lld of %lld allowed at once",
            (long long)e->sweep->id, (long long)(e->sweep->active + e->sweep->claiming),
            (long long)e->sweep->max_parallel);
    else if (busy >= q->o.max_running)
        say(why, REASON_NO_SLOT, "%lld of %lld slots are busy", (long long)busy,
            (long long)q->o.max_running);
    else if (e->process.pid != 0)
        say(why, REASON_NONE, "the worker of the earlier attempt is about to end");
    else say(why, REASON_NONE, "it is about to start");
}

static void why_not(const struct queue *q, const struct entry *e, struct reason_why *why)
{
    const int64_t left_ms = e->backoff_until_ms - clock_mono_ms();
    switch (e->x.state) {
    case STATE_QUEUED: why_queued(q, e, why); break;
    case STATE_BACKOFF:
        say(why, e->x.reason, "the next attempt comes in %.0f s, after: %s",
            left_ms > 0 ? (double)left_ms / 1000.0 : 0.0, e->x.message);
        break;
    case STATE_BLOCKED: {
        char words[DEPENDENCIES_WORDS_MAX];
        (void)dependencies_of(q, &e->x, words, sizeof words);
        say(why, REASON_DEPENDENCY, "%s", words);
        break;
    }
    case STATE_HELD: say(why, e->x.reason, "%s", e->x.message); break;
    case STATE_PAUSED: say(why, REASON_USER_REQUEST, "%s", state_meaning(e->x.state)); break;
    default: say(why, REASON_NONE, "%s", state_meaning(e->x.state)); break;
    }
}

double experiment_eta_s(const struct experiment *x)
{
    if (x->state != STATE_RUNNING || x->step <= 0 || x->started_ms <= 0 || x->steps_total <= 0)
        return NAN;
    const double left = (double)(x->steps_total - x->step);
    return left * (double)(clock_wall_ms() - x->started_ms) / 1000.0 / (double)x->step;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* When the slot that is this one's becomes free: known while every running experiment says how long
 * it takes, and enough of them run. What starts before it is not looked into. */
static double eta_s(const struct queue *q, int64_t position)
{
    double *etas = mem_calloc((size_t)q->running + 1, sizeof etas[0]), eta = NAN;
    int64_t n = 0;
    list_for_each(it, &q->timed) {
        const struct entry *e = container_of(it, struct entry, timed);
        if (etas == NULL || !entry_active(e)) continue;
        const double one = experiment_eta_s(&e->x);
        if (!isnan(one)) etas[n++] = one;
    }
    if (n == q->running && position <= n) {
        qsort(etas, (size_t)n, sizeof etas[0], by_size);
        eta = etas[position - 1];
    }
    mem_free(etas);
    return eta;
}

static bool add_terms(cJSON *o, const struct entry *e)
{
    if (!e->item.listed) return cJSON_AddNullToObject(o, "terms") != NULL;
    const struct order_terms t = order_terms(&e->item, clock_wall_ms());
    cJSON *terms = cJSON_AddObjectToObject(o, "terms");
    return terms != NULL && json_add_int(terms, "priority", t.priority) &&
           json_add_int(terms, "age", t.age) && json_add_int(terms, "share", -t.share) &&
           json_add_int(terms, "total", t.total) && json_add_int(terms, "lift", e->x.lift);
}

static bool add_place(cJSON *o, const struct queue *q, const struct entry *e,
                      enum experiment_reason blocked_by)
{
    int64_t ids[AHEAD_MAX];
    const bool listed = e->item.listed;
    const int64_t position = queue_position(q, e->x.id);
    const double eta = listed && blocked_by == REASON_NO_SLOT ? eta_s(q, position) : NAN;
    const size_t n = listed ? order_ahead(&q->order, &e->item, clock_wall_ms(), ids, AHEAD_MAX) : 0;
    bool ok = listed ? json_add_int(o, "position", position)
                     : cJSON_AddNullToObject(o, "position") != NULL;
    cJSON *ahead = ok ? cJSON_AddArrayToObject(o, "ahead") : NULL;
    for (size_t i = 0; ahead != NULL && i < n; i++)
        (void)cJSON_AddItemToArray(ahead, cJSON_CreateNumber((double)ids[i]));
    return ahead != NULL && (isnan(eta) ? cJSON_AddNullToObject(o, "eta_s") != NULL
                                        : json_add_number(o, "eta_s", eta));
}

cJSON *queue_explain(struct queue *q, int64_t id)
{
    const struct entry *e = queue_entry(q, id);
    cJSON *o = e != NULL ? cJSON_CreateObject() : NULL;
    if (o == NULL) return NULL;
    struct reason_why why = { 0 };
    scheduler_refresh(q);
    why_not(q, e, &why);
    if (add_place(o, q, e, why.blocked_by) && add_terms(o, e) &&
        cJSON_AddBoolToObject(o, "moved", e->x.place != 0 || e->x.lift != 0) != NULL &&
        cJSON_AddStringToObject(o, "blocked_by", reason_name(why.blocked_by)) != NULL &&
        cJSON_AddStringToObject(o, "detail", why.detail) != NULL)
        return o;
    cJSON_Delete(o);
    return NULL;
}
