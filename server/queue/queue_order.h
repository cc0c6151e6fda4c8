/* queue_order: which of the queued experiments runs next (service.md C2), and where each stands.
 *
 *   total = priority * 1000 + min(minutes queued, 999) - share
 *   share = min(500, 100 * usage / mean usage)      usage = slot-seconds, halved every 24 h
 *
 * in whole numbers; the largest total runs first, then who was queued first, then the lower number.
 * All experiments of a user have the same share, and age never outweighs a priority: within a user
 * the order is that of priority, then time, for good. So there is one sorted array a user, the next
 * to run is the best of the users' first ones, and a place is one binary search for each user.
 *
 * A move gives an item another place: the moment it counts as queued from, in parts of a
 * millisecond, so that there is room between two. Only its own user's items of the same priority
 * feel it, but for its age. An admin's lift comes before every total: those of a larger one run
 * first, whoever they belong to.
 *
 * Knows numbers only, no store and no clock. Loop thread. */
#ifndef SERVER_QUEUE_ORDER_H
#define SERVER_QUEUE_ORDER_H

#include "common/err.h"
#include "common/list.h"

#include <stdbool.h>
#include <stdint.h>

#define ORDER_USER_MAX 64
#define ORDER_HALF_LIFE_MS (24.0 * 3600 * 1000)
#define ORDER_AGE_MAX 999
#define ORDER_SHARE_MAX 500

struct order_item;
struct order_user {
    struct list link;
    char name[ORDER_USER_MAX];
    int64_t running;           /* slots in use; change it through order_run */
    int64_t claiming;          /* slots being taken */
    int64_t waiting;           /* experiments that want to run, queued ones among them */
    int64_t kept;              /* those and paused ones: what the limit of a user counts */
    int64_t arriving;          /* the same, being written */
    double usage;              /* slot-seconds at usage_ms */
    int64_t usage_ms;          /* monotonic */
    int64_t share;             /* of the last order_refresh */
    struct order_item **items; /* the first to run first */
    size_t n, capacity;
};
/* Embedded in what is queued. */
struct order_item {
    struct order_user *user;
    int64_t id, priority, queued_ms; /* fixed while it is listed, as are */
    int64_t place;                   /* 0: as it was queued */
    int64_t lift;
    bool listed;
};
#define ORDER_PARTS 1048576 /* of a millisecond */
/* What decides among a user's items of one priority: the smaller one runs first. */
static inline int64_t order_place(const struct order_item *i)
{
    return i->place != 0 ? i->place : i->queued_ms * ORDER_PARTS;
}
struct order {
    struct list users;
    size_t n; /* items of all users */
};
struct order_terms {
    int64_t priority, age, share, total; /* share is subtracted */
};

void order_init(struct order *o);
void order_deinit(struct order *o); /* forgets users; items are the caller's */
/* The user of that name, made when there is none. NULL: out of memory. */
struct order_user *order_user(struct order *o, const char *name);
/* item->user and its three numbers are set. Errors: ERR_NOMEM. */
int order_add(struct order *o, struct order_item *item, struct err *e);
void order_remove(struct order *o, struct order_item *item); /* harmless when it is not listed */

/* Slot-seconds after dt_ms with `running` slots in use, halved every half life. */
double order_usage_after(double usage, int64_t running, int64_t dt_ms);
/* One slot more or less, now. */
void order_run(struct order_user *u, int64_t change, int64_t mono_ms);
/* What a user ran before: [begin, end) on the wall clock, as seen at `now`, which is mono_ms. */
void order_ran_before(struct order_user *u, int64_t begin_ms, int64_t end_ms, int64_t now_ms,
                      int64_t mono_ms);
/* Every user's share of now. The mean is over users that run, wait or have used a slot-second. */
void order_refresh(struct order *o, int64_t mono_ms);

struct order_terms order_terms(const struct order_item *item, int64_t wall_ms);
/* The first item in order that may(ctx, item) run, of users below running_max (0 = no limit). */
struct order_item *order_next(const struct order *o, int64_t wall_ms, int64_t running_max,
                              bool (*may)(void *ctx, const struct order_item *item), void *ctx);
/* 1 = the first; the item is listed. */
int64_t order_position(const struct order *o, const struct order_item *item, int64_t wall_ms);
/* Ids of those before the item, the first to run first; at most max. */
size_t order_ahead(const struct order *o, const struct order_item *item, int64_t wall_ms,
                   int64_t *ids, size_t max);
/* Whether a runs before b. */
bool order_before(const struct order_item *a, const struct order_item *b, int64_t wall_ms);
/* What a move changes of an item (order_move.c). */
struct order_step {
    struct order_item *item;
    int64_t place, lift;
};
/* Whether the two stand in one line: of one user, priority and lift, where places decide. */
bool order_same_line(const struct order_item *a, const struct order_item *b);
/* Steps that put a listed item before another one of its line (NULL: at its back; the first of the
 * line: at its front), the item's own first. steps: room for as many as the user has queued. */
size_t order_move(struct order_item *item, const struct order_item *before,
                  struct order_step *steps);
const struct order_item *order_line_first(const struct order_item *item); /* another one, or NULL */
/* Steps that put it before everybody's (front), behind them, or before another one; max + 1: more
 * than max would change. */
size_t order_lift(const struct order *o, struct order_item *item, bool front,
                  struct order_step *step);
size_t order_lift_before(const struct order *o, struct order_item *item,
                         const struct order_item *before, int64_t wall_ms, struct order_step *steps,
                         size_t max);
bool order_ok(const struct order *o); /* invariants, for assert and tests */

#endif
