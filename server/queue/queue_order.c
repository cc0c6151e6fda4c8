/* queue_order: see queue_order.h. */
#include "server/queue/queue_order.h"

#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define USERS_MAX 256 /* whose first ones order_ahead can merge */

void order_init(struct order *o)
{
    *o = (struct order){ 0 };
    list_init(&o->users);
}

void order_deinit(struct order *o)
{
    list_for_each_safe(it, &o->users) {
        struct order_user *u = container_of(it, struct order_user, link);
        list_remove(&u->link);
        mem_free(u->items);
        mem_free(u);
    }
    o->n = 0;
}

static struct order_user *find_user(const struct order *o, const char *name)
{
    list_for_each(it, &o->users) {
        struct order_user *u = container_of(it, struct order_user, link);
        if (strcmp(u->name, name) == 0) return u;
    }
    return NULL;
}

struct order_user *order_user(struct order *o, const char *name)
{
    struct order_user *u = find_user(o, name);
    if (u != NULL) return u;
    u = mem_calloc(1, sizeof *u);
    if (u == NULL) return NULL;
    (void)snprintf(u->name, sizeof u->name, "%s", name);
    list_append(&o->users, &u->link);
    return u;
}

/* ---- one user: an array that is always sorted ------------------------------------------------ */
static bool was_first(const struct order_item *a, const struct order_item *b)
{
    const int64_t pa = order_place(a), pb = order_place(b);
    return pa != pb ? pa < pb : a->id < b->id;
}

/* The order within a user, which time does not change. */
static bool stands_before(const struct order_item *a, const struct order_item *b)
{
    if (a->lift != b->lift) return a->lift > b->lift;
    if (a->priority != b->priority) return a->priority > b->priority;
    return was_first(a, b);
}

/* How many items of the array stand before `item`, by `before`, which agrees with the array. */
static size_t count_before(const struct order_user *u, const struct order_item *item,
                           bool (*before)(const struct order_item *, const struct order_item *,
                                          int64_t),
                           int64_t wall_ms)
{
    size_t low = 0, high = u->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (before(u->items[middle], item, wall_ms)) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool before_always(const struct order_item *a, const struct order_item *b, int64_t wall_ms)
{
    (void)wall_ms;
    return stands_before(a, b);
}

int order_add(struct order *o, struct order_item *item, struct err *e)
{
    struct order_user *u = item->user;
    if (u->n == u->capacity) {
        const size_t capacity = 2 * u->capacity + 16;
        struct order_item **grown = mem_realloc_array(u->items, capacity, sizeof grown[0]);
        if (grown == NULL) return err_set(e, ERR_NOMEM, "queue of %s", u->name);
        u->items = grown;
        u->capacity = capacity;
    }
    const size_t at = count_before(u, item, before_always, 0);
    memmove(u->items + at + 1, u->items + at, (u->n - at) * sizeof u->items[0]);
    u->items[at] = item;
    u->n++;
    o->n++;
    item->listed = true;
    return 0;
}

void order_remove(struct order *o, struct order_item *item)
{
    if (!item->listed) return;
    struct order_user *u = item->user;
    const size_t at = count_before(u, item, before_always, 0);
    memmove(u->items + at, u->items + at + 1, (u->n - at - 1) * sizeof u->items[0]);
    u->n--;
    o->n--;
    item->listed = false;
}

/* ---- fair share ------------------------------------------------------------------------------ */
double order_usage_after(double usage, int64_t running, int64_t dt_ms)
{
    if (dt_ms <= 0) return usage;
    const double left = exp2(-(double)dt_ms / ORDER_HALF_LIFE_MS);
    return usage * left +
           (double)running * ORDER_HALF_LIFE_MS / 1000.0 / 0.69314718055994531 * (1 - left);
}

static void bring_up(struct order_user *u, int64_t mono_ms)
{
    u->usage = order_usage_after(u->usage, u->running, mono_ms - u->usage_ms);
    u->usage_ms = mono_ms;
}

void order_run(struct order_user *u, int64_t change, int64_t mono_ms)
{
    bring_up(u, mono_ms);
    u->running += change;
}

void order_ran_before(struct order_user *u, int64_t begin_ms, int64_t end_ms, int64_t now_ms,
                      int64_t mono_ms)
{
    bring_up(u, mono_ms);
    const double then = order_usage_after(0, 1, end_ms - begin_ms);
    u->usage += order_usage_after(then, 0, now_ms - end_ms);
}

static bool counts(const struct order_user *u)
{
    return u->running > 0 || u->waiting > 0 || u->usage >= 1;
}

void order_refresh(struct order *o, int64_t mono_ms)
{
    double sum = 0;
    int64_t users = 0;
    list_for_each(it, &o->users) {
        struct order_user *u = container_of(it, struct order_user, link);
        bring_up(u, mono_ms);
        if (!counts(u)) continue;
        sum += u->usage;
        users++;
    }
    const double mean = users > 0 ? sum / (double)users : 0;
    list_for_each(it, &o->users) {
        struct order_user *u = container_of(it, struct order_user, link);
        const double share = mean > 0 ? 100 * u->usage / mean : 0;
        u->share = share < ORDER_SHARE_MAX ? (int64_t)share : ORDER_SHARE_MAX;
    }
}

/* ---- all users ------------------------------------------------------------------------------- */
struct order_terms order_terms(const struct order_item *item, int64_t wall_ms)
{
    const int64_t minutes = (wall_ms - order_place(item) / ORDER_PARTS) / 60000;
    struct order_terms t = { .priority = 1000 * item->priority, .share = item->user->share };
    t.age = minutes < 0 ? 0 : minutes < ORDER_AGE_MAX ? minutes : ORDER_AGE_MAX;
    t.total = t.priority + t.age - t.share;
    return t;
}

bool order_before(const struct order_item *a, const struct order_item *b, int64_t wall_ms)
{
    if (a->user == b->user) return stands_before(a, b);
    if (a->lift != b->lift) return a->lift > b->lift;
    const int64_t ta = order_terms(a, wall_ms).total, tb = order_terms(b, wall_ms).total;
    if (ta != tb) return ta > tb;
    return was_first(a, b);
}

struct order_item *order_next(const struct order *o, int64_t wall_ms, int64_t running_max,
                              bool (*may)(void *ctx, const struct order_item *item), void *ctx)
{
    struct order_item *best = NULL;
    list_for_each(it, &o->users) {
        const struct order_user *u = container_of(it, struct order_user, link);
        if (running_max > 0 && u->running + u->claiming >= running_max) continue;
        for (size_t i = 0; i < u->n; i++) {
            if (!may(ctx, u->items[i])) continue;
            if (best == NULL || order_before(u->items[i], best, wall_ms)) best = u->items[i];
            break;
        }
    }
    return best;
}

int64_t order_position(const struct order *o, const struct order_item *item, int64_t wall_ms)
{
    int64_t position = 1;
    list_for_each(it, &o->users) {
        const struct order_user *u = container_of(it, struct order_user, link);
        position += (int64_t)count_before(u, item, order_before, wall_ms);
    }
    return position;
}

size_t order_ahead(const struct order *o, const struct order_item *item, int64_t wall_ms,
                   int64_t *ids, size_t max)
{
    size_t at[USERS_MAX] = { 0 }, n = 0;
    while (n < max) {
        const struct order_item *best = item;
        size_t user = 0, whose = 0;
        list_for_each(it, &o->users) {
            const struct order_user *u = container_of(it, struct order_user, link);
            if (user < USERS_MAX && at[user] < u->n &&
                order_before(u->items[at[user]], best, wall_ms)) {
                best = u->items[at[user]];
                whose = user;
            }
            user++;
        }
        if (best == item) break;
        at[whose]++;
        ids[n++] = best->id;
    }
    return n;
}

bool order_ok(const struct order *o)
{
    size_t n = 0;
    list_for_each(it, &o->users) {
        const struct order_user *u = container_of(it, struct order_user, link);
        n += u->n;
        for (size_t i = 0; i < u->n; i++)
            if (u->items[i]->user != u || !u->items[i]->listed ||
                (i > 0 && !stands_before(u->items[i - 1], u->items[i])))
                return false;
    }
    return n == o->n;
}
