/* queue: the index of experiments, and what people ask for. See queue.h; it begins and ends in
 * queue_open.c, the pipeline of changes is queue_change.c. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const experiment_headlines[EXPERIMENT_HEADLINES_MAX] = {
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy"
};

/* ---- the index ------------------------------------------------------------------------------- */
struct entry *queue_entry(const struct queue *q, int64_t id)
{
    return id > 0 && (size_t)id < q->by_id_size ? q->by_id[id] : NULL;
}

static int index_room(struct queue *q, size_t id, struct err *e)
{
    if (id < q->by_id_size) return 0;
    const size_t size = 2 * id + 64;
    struct entry **grown = mem_realloc_array(q->by_id, size, sizeof grown[0]);
    if (grown == NULL) return err_set(e, ERR_NOMEM, "index of experiments");
    memset(grown + q->by_id_size, 0, (size - q->by_id_size) * sizeof grown[0]);
    q->by_id = grown;
    q->by_id_size = size;
    return 0;
}

struct entry *queue_add(struct queue *q, const struct experiment *x, struct err *e)
{
    if (index_room(q, (size_t)x->id, e) != 0) return NULL;
    struct entry *entry = mem_calloc(1, sizeof *entry);
    if (entry == NULL) {
        (void)err_set(e, ERR_NOMEM, "experiment");
        return NULL;
    }
    entry->x = *x;
    entry->item.user = order_user(&q->order, x->user);
    entry->item.id = x->id;
    entry->sweep = sweep_entry(q, x->sweep);
    if (entry->item.user == NULL) {
        mem_free(entry);
        (void)err_set(e, ERR_NOMEM, "user");
        return NULL;
    }
    for (int i = 0; i < EXPERIMENT_HEADLINES_MAX; i++) entry->x.headline[i] = NAN;
    list_init(&entry->changes);
    list_init(&entry->grave);
    list_insert_before(q->entries.next, &entry->link); /* newest first */
    q->by_id[x->id] = entry;
    q->count++;
    queue_place(q, entry);
    return entry;
}

static void list_timed(struct queue *q, struct entry *e, bool timed)
{
    if (timed == e->is_timed) return;
    if (timed) list_append(&q->timed, &e->timed);
    else list_remove(&e->timed);
    e->is_timed = timed;
}

/* Its place among the queued depends on fields that a change or a move may alter. */
static void list_queued(struct queue *q, struct entry *e, bool queued)
{
    struct order_item *i = &e->item;
    struct err fault = { 0 };
    if (queued && i->listed && i->priority == e->x.priority && i->queued_ms == e->x.queued_ms &&
        i->place == e->x.place && i->lift == e->x.lift)
        return;
    order_remove(&q->order, i);
    i->priority = e->x.priority;
    i->queued_ms = e->x.queued_ms;
    i->place = e->x.place;
    i->lift = e->x.lift;
    if (queued && order_add(&q->order, i, &fault) != 0)
        log_error("server.queue", "experiment %lld is not scheduled before a restart: %s",
                  (long long)e->x.id, fault.text);
}

static void count_state(struct queue *q, struct entry *e)
{
    const int64_t was_pruned = e->counted_pruned;
    if (e->is_counted) q->states[e->counted]--;
    if (e->is_counted && e->sweep != NULL) e->sweep->states[e->counted]--;
    e->is_counted = !e->deleted;
    e->counted = e->x.state;
    e->counted_pruned = e->is_counted && e->x.state == STATE_CANCELLED &&
                        e->x.reason == REASON_SWEEP_PRUNED;
    if (e->is_counted) q->states[e->counted]++;
    if (e->sweep == NULL) return;
    if (e->is_counted) e->sweep->states[e->counted]++;
    e->sweep->pruned += e->counted_pruned - was_pruned;
}

void queue_place(struct queue *q, struct entry *e)
{
    const enum experiment_state s = e->x.state;
    const bool running = state_is_active(s) && !e->deleted;
    const bool waiting = !e->deleted && (s == STATE_QUEUED || s == STATE_BLOCKED ||
                                         s == STATE_BACKOFF || s == STATE_HELD);
    const bool kept = waiting || (s == STATE_PAUSED && !e->deleted);
    struct order_user *u = e->item.user;
    if (running != e->counts_running) {
        order_run(u, running ? 1 : -1, clock_mono_ms());
        q->running += running ? 1 : -1;
        if (e->sweep != NULL) e->sweep->active += running ? 1 : -1;
    }
    if (waiting != e->counts_waiting) u->waiting += waiting ? 1 : -1;
    if (kept != e->counts_kept) u->kept += kept ? 1 : -1;
    e->counts_kept = kept;
    e->counts_running = running;
    e->counts_waiting = waiting;
    count_state(q, e);
    list_timed(q, e, running || (s == STATE_BACKOFF && !e->deleted) || e->process.pid != 0);
    list_queued(q, e, s == STATE_QUEUED && !e->deleted);
}

void queue_remove(struct queue *q, struct entry *e)
{
    e->deleted = true;
    e->process.pid = 0;
    queue_place(q, e);
    dependencies_unname(q, e);
    q->by_id[e->x.id] = NULL;
    q->count--;
    list_remove(&e->link);
    mem_free(e->x.after);
    mem_free(e->dependants);
    mem_free(e);
}

int entry_dir(const struct queue *q, const struct entry *e, int64_t attempt, char *out, size_t size)
{
    const int n = attempt == 0 ? snprintf(out, size, "%s/%s", q->files_dir, e->x.uid)
                               : snprintf(out, size, "%s/%s/attempt-%lld", q->files_dir, e->x.uid,
                                          (long long)attempt);
    return n < (int)size ? 0 : -1;
}

int queue_attempt_dir(const struct queue *q, int64_t id, char *out, size_t size, struct err *e)
{
    const struct entry *entry = queue_entry(q, id);
    if (entry == NULL || entry->x.attempt == 0 ||
        entry_dir(q, entry, entry->x.attempt, out, size) != 0)
        return err_set(e, ERR_NOT_FOUND, "experiment %lld has no attempt yet", (long long)id);
    return 0;
}

const struct experiment *queue_find(const struct queue *q, int64_t id)
{
    const struct entry *e = queue_entry(q, id);
    return e != NULL && !e->deleted ? &e->x : NULL;
}

const struct experiment *queue_find_uid(const struct queue *q, const char *uid)
{
    list_for_each(it, &q->entries)
    {
        const struct entry *e = container_of(it, struct entry, link);
        if (!e->deleted && strcmp(e->x.uid, uid) == 0) return &e->x;
    }
    return NULL;
}

const struct experiment *queue_find_deleted(const struct queue *q, int64_t id)
{
    const struct entry *e = queue_entry(q, id);
    return e != NULL && e->deleted && !e->purged ? &e->x : NULL;
}

void queue_each_deleted(const struct queue *q, bool (*fn)(void *ctx, const struct experiment *x),
                        void *ctx)
{
    for (size_t i = q->by_id_size; !list_empty(&q->trash) && i-- > 1;) {
        const struct experiment *x = queue_find_deleted(q, (int64_t)i);
        if (x != NULL && !fn(ctx, x)) return;
    }
}

struct store *queue_store(struct queue *q) { return q->main; }
struct store *queue_metrics_store(struct queue *q) { return q->metrics; }
void queue_hold(struct queue *q, bool on) { q->held = on; }

void queue_each(const struct queue *q, bool (*fn)(void *ctx, const struct experiment *x), void *ctx)
{
    list_for_each(it, &q->entries)
    {
        const struct entry *e = container_of(it, struct entry, link);
        if (!e->deleted && !fn(ctx, &e->x)) return;
    }
}

void queue_each_below(const struct queue *q, int64_t id,
                      bool (*fn)(void *ctx, const struct experiment *x), void *ctx)
{
    size_t i = id > 0 && (size_t)id < q->by_id_size ? (size_t)id : q->by_id_size;
    while (i-- > 1) {
        const struct entry *e = q->by_id[i];
        if (e != NULL && !e->deleted && !fn(ctx, &e->x)) return;
    }
}

struct queue_stats queue_stats_of(struct queue *q)
{
    return (struct queue_stats){ .states = q->states,
                                 .wait_s = &q->wait_s,
                                 .claim_s = &q->claim_s,
                                 .points = q->points,
                                 .slots = q->o.max_running,
                                 .slots_busy = q->running,
                                 .reads = q->reads,
                                 .main = store_stats_of(q->main),
                                 .metrics = store_stats_of(q->metrics),
                                 .main_path = store_path(q->main),
                                 .metrics_path = store_path(q->metrics),
                                 .disk = &q->disk };
}

/* ---- publishing ------------------------------------------------------------------------------ */
static bool add_progress(cJSON *o, const struct experiment *x)
{
    cJSON *p = cJSON_AddObjectToObject(o, "progress");
    const double eta_s = experiment_eta_s(x);
    return p != NULL && json_add_int(p, "step", x->step) &&
           json_add_int(p, "steps_total", x->steps_total) && json_add_int(p, "epoch", x->epoch) &&
           json_add_int(p, "epochs", x->epochs) &&
           json_add_number(p, "samples_per_s", x->samples_per_s) &&
           (isnan(eta_s) ? cJSON_AddNullToObject(p, "eta_s") != NULL
                         : json_add_number(p, "eta_s", eta_s));
}

static bool add_headlines(cJSON *o, const struct experiment *x)
{
    cJSON *m = cJSON_AddObjectToObject(o, "metrics");
    bool ok = m != NULL;
    for (int i = 0; ok && i < EXPERIMENT_HEADLINES_MAX; i++)
        if (!isnan(x->headline[i]))
            ok = json_add_number(m, experiment_headlines[i], x->headline[i]);
    return ok;
}

/* Running seconds over all attempts, and how many there may be; null = any. */
static bool add_limits(const struct queue *q, cJSON *o, const struct experiment *x)
{
    const struct entry *e = queue_entry(q, x->id);
    return json_add_number(o, "ran_s", e != NULL ? (double)entry_ran_ms(e) / 1000.0 : 0) &&
           (x->time_limit_s > 0 ? json_add_int(o, "time_limit_s", x->time_limit_s)
                                : cJSON_AddNullToObject(o, "time_limit_s") != NULL);
}

static bool add_after(cJSON *o, const struct experiment *x)
{
    cJSON *list = cJSON_AddArrayToObject(o, "after");
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < x->n_after; i++) {
        cJSON *d = cJSON_CreateObject();
        ok = d != NULL && cJSON_AddItemToArray(list, d) &&
             json_add_int(d, "experiment", x->after[i].experiment) &&
             cJSON_AddStringToObject(d, "on", x->after[i].any ? "any" : "ok") != NULL;
    }
    return ok;
}

cJSON *experiment_object(const struct queue *q, const struct experiment *x)
{
    cJSON *o = cJSON_CreateObject();
    cJSON *tags = o != NULL ? cJSON_CreateArray() : NULL;
    for (size_t i = 0; tags != NULL && i < x->n_tags; i++)
        (void)cJSON_AddItemToArray(tags, cJSON_CreateString(x->tags[i]));
    const int64_t position = queue_position(q, x->id);
    const bool ok = tags != NULL && json_add_int(o, "id", x->id) &&
                    cJSON_AddStringToObject(o, "uid", x->uid) != NULL &&
                    cJSON_AddStringToObject(o, "name", x->name) != NULL &&
                    cJSON_AddStringToObject(o, "user", x->user) != NULL &&
                    cJSON_AddItemToObject(o, "tags", tags) &&
                    json_add_int(o, "priority", x->priority) &&
                    cJSON_AddStringToObject(o, "state", state_name(x->state)) != NULL &&
                    cJSON_AddStringToObject(o, "desired", desired_name(x->desired)) != NULL &&
                    cJSON_AddStringToObject(o, "reason", reason_name(x->reason)) != NULL &&
                    cJSON_AddStringToObject(o, "message", x->message) != NULL &&
                    (x->sweep != 0 ? json_add_int(o, "sweep", x->sweep)
                                   : cJSON_AddNullToObject(o, "sweep") != NULL) &&
                    json_add_int(o, "attempt", x->attempt) && json_add_int(o, "rev", x->rev) &&
                    add_limits(q, o, x) && add_after(o, x) &&
                    json_add_time(o, "created_at", x->created_ms) &&
                    json_add_time(o, "queued_at", x->queued_ms) &&
                    json_add_time(o, "started_at", x->started_ms) &&
                    json_add_time(o, "ended_at", x->ended_ms) &&
                    json_add_time(o, "deleted_at", x->deleted_ms) && add_progress(o, x) &&
                    add_headlines(o, x) &&
                    cJSON_AddStringToObject(o, "dataset", x->dataset) != NULL &&
                    json_add_int(o, "time_steps", x->time_steps) &&
                    (position > 0 ? json_add_int(o, "queue_position", position)
                                  : cJSON_AddNullToObject(o, "queue_position") != NULL);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

void queue_publish_state(struct queue *q, const struct entry *e)
{
    cJSON *o = experiment_object(q, &e->x);
    char *text = o != NULL ? json_print(o, NULL) : NULL;
    cJSON_Delete(o);
    if (text != NULL) q->observer.publish(q->observer.ctx, "experiment.state", e->x.id, text);
    mem_free(text);
}

/* ---- what people ask for --------------------------------------------------------------------- */
static bool may_act(const struct entry *e, const struct queue_actor *a)
{
    return a->admin || strcmp(a->user, e->x.user) == 0;
}

static struct change *person_change(struct queue *q, int64_t id, enum experiment_event event,
                                    struct queue_actor actor, queue_done_fn done, void *ctx)
{
    struct entry *e = queue_entry(q, id);
    struct err fault = { 0 };
    if (e == NULL || e->purged) {
        (void)err_set(&fault, ERR_NOT_FOUND, "there is no experiment %lld", (long long)id);
    } else if (!may_act(e, &actor)) {
        (void)err_set(&fault, ERR_FORBIDDEN, "experiment %lld belongs to %s", (long long)id,
                      e->x.user);
    } else {
        struct change *c = change_new(q, e, event);
        if (c != NULL) {
            (void)snprintf(c->actor, sizeof c->actor, "%s", actor.user);
            c->reason = REASON_USER_REQUEST;
            c->done = done;
            c->ctx = ctx;
            return c;
        }
        (void)err_set(&fault, ERR_NOMEM, "change");
    }
    done(ctx, NULL, &fault);
    return NULL;
}

void queue_act(struct queue *q, int64_t id, enum queue_action action, struct queue_actor actor,
               double grace_s, queue_done_fn done, void *ctx)
{
    static const enum experiment_event events[] = {
        [QUEUE_CANCEL] = EVENT_CANCEL,
        [QUEUE_PAUSE] = EVENT_PAUSE,
        [QUEUE_RESUME] = EVENT_RESUME,
        [QUEUE_RETRY] = EVENT_RETRY,
    };
    struct change *c = person_change(q, id, events[action], actor, done, ctx);
    if (c == NULL) return;
    c->grace_s = grace_s;
    if (action == QUEUE_RESUME || action == QUEUE_RETRY) c->reason = REASON_NONE;
    change_submit(c);
}

void queue_remove_experiment(struct queue *q, int64_t id, enum queue_removal what, int64_t if_rev,
                             struct queue_actor actor, queue_done_fn done, void *ctx)
{
    struct change *c = person_change(q, id, EVENT_PATCH, actor, done, ctx);
    if (c == NULL) return;
    c->removal = what;
    c->patch.if_rev = if_rev;
    change_submit(c);
}

void queue_patch(struct queue *q, int64_t id, const struct queue_patch *patch,
                 struct queue_actor actor, queue_done_fn done, void *ctx)
{
    char *notes = patch->notes != NULL ? mem_strdup(patch->notes) : NULL;
    if (patch->notes != NULL && notes == NULL) {
        struct err fault = { 0 };
        (void)err_set(&fault, ERR_NOMEM, "notes");
        done(ctx, NULL, &fault);
        return;
    }
    struct change *c = person_change(q, id, EVENT_PATCH, actor, done, ctx);
    if (c == NULL) {
        mem_free(notes);
        return;
    }
    c->patch.if_rev = patch->if_rev;
    c->notes = notes;
    if (patch->name != NULL) {
        (void)snprintf(c->patch_name, sizeof c->patch_name, "%s", patch->name);
        c->patch.name = c->patch_name;
    }
    if (patch->priority != NULL) {
        c->patch_priority = *patch->priority;
        c->patch.priority = &c->patch_priority;
    }
    if (patch->time_limit_s != NULL) {
        c->patch_time_limit_s = *patch->time_limit_s;
        c->patch.time_limit_s = &c->patch_time_limit_s;
    }
    if (patch->tags != NULL) {
        memcpy(c->patch_tags, patch->tags, patch->n_tags * sizeof c->patch_tags[0]);
        c->patch.tags = (const char(*)[64])c->patch_tags;
        c->patch.n_tags = patch->n_tags;
    }
    change_submit(c);
}
