/* queue_order: which of the queued experiments runs next (service.md C2), and where each stands.
 *
 *   total = priority * 1000 + min(minutes queued, 999) - share
 *   share = min(500, 100 * usage / mean usage)      usage = slot-seconds, halved every 24 h
 *
 * in whole numbers; the largest total runs first, then who was queued first, then the lower number.
 * All experiments of a user have the same share, and age never outweighs a priority: within a user
 * the order is that of priority, then time, for good. So there is one sorted array a user, the next
 * to run is the best of the users' first ones, and a place is one binary search for each user.
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
    int64_t id, priority, queued_ms; /* fixed while it is listed */
    bool listed;
};
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
bool order_ok(const struct order *o); /* invariants, for assert and tests */

#endif
