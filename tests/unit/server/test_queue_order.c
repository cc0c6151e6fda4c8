/* The order of the queue: terms, fair share, places; against a plain sort of everything. */
#include "server/queue/queue_order.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE 60000
#define HOUR_MS (3600 * 1000)
#define DAY_MS (24 * HOUR_MS)

/* One user id for each first letter. */
static struct order_user *user_of(struct order *o, const char *name) { return order_user(o, name); }

static struct order_item item(struct order *o, const char *user, int64_t id, int64_t priority,
                              int64_t queued_ms)
{
    return (struct order_item){
        .user = user_of(o, user), .id = id, .priority = priority, .queued_ms = queued_ms
    };
}

static bool any(void *ctx, const struct order_item *i)
{
    (void)ctx;
    (void)i;
    return true;
}

static bool all_but(void *ctx, const struct order_item *i) { return i->id != *(int64_t *)ctx; }

/* Goal: the terms are those of service.md C2, whole numbers, within their bounds. */
Test(order, terms, .timeout = 2)
{
    struct order o;
    order_init(&o);
    struct order_item i = item(&o, "ada", 1, -2, 5 * MINUTE);
    struct order_terms t = order_terms(&i, 15 * MINUTE + 59999);
    cr_assert(t.priority == -2000 && t.age == 10 && t.share == 0 && t.total == -1990);
    cr_assert_eq(order_terms(&i, 4 * MINUTE).age, 0, "a clock that was set back");
    cr_assert_eq(order_terms(&i, 100000 * (int64_t)MINUTE).age, 999);
    i.user->share = 500;
    cr_assert_eq(order_terms(&i, 5 * MINUTE).total, -2500);
    order_deinit(&o);
}

/* Goal: a slot in use counts as a second a second, and half as much a day later. */
Test(order, usage_is_halved_every_day, .timeout = 2)
{
    cr_assert_float_eq(order_usage_after(0, 2, 1000), 2, 1e-4);
    cr_assert_float_eq(order_usage_after(800, 0, DAY_MS), 400, 1e-9);
    /* Whole days of running come to the same in one piece and in many. */
    double pieces = 0;
    for (int i = 0; i < 48; i++) pieces = order_usage_after(pieces, 1, HOUR_MS);
    cr_assert_float_eq(order_usage_after(0, 1, 2 * DAY_MS), pieces, 1e-6);
    struct order o;
    order_init(&o);
    struct order_user *u = user_of(&o, "ada");
    order_ran_before(u, 0, 1000, 1000 + DAY_MS, 5 * DAY_MS);
    order_ran_before(u, 0, 1000, 1000 + DAY_MS, 5 * DAY_MS);
    order_refresh(&o, 5 * DAY_MS);
    cr_assert_float_eq(u->usage, 1, 1e-4);
    order_deinit(&o);
}

/* Goal: who used most gives way to who used least, at the same priority and age; a higher priority
 * still comes first, and one user alone is in order of time. */
Test(order, heavy_users_give_way, .timeout = 2)
{
    struct order o;
    struct err e = { 0 };
    order_init(&o);
    struct order_item first = item(&o, "ada", 1, 0, 0), second = item(&o, "bob", 2, 0, MINUTE),
                      urgent = item(&o, "ada", 3, 1, 2 * MINUTE);
    cr_assert(order_add(&o, &first, &e) == 0 && order_add(&o, &second, &e) == 0);
    order_refresh(&o, 0);
    cr_assert_eq(order_next(&o, 2 * MINUTE, 0, any, NULL)->id, 1, "nobody has used anything");
    first.user->usage = 3000;
    second.user->usage = 1000;
    order_refresh(&o, 0);
    cr_assert(first.user->share == 150 && second.user->share == 50, "%lld %lld",
              (long long)first.user->share, (long long)second.user->share);
    cr_assert_eq(order_next(&o, 2 * MINUTE, 0, any, NULL)->id, 2);
    cr_assert_eq(order_position(&o, &first, 2 * MINUTE), 2);
    cr_assert_eq(order_position(&o, &second, 2 * MINUTE), 1);
    cr_assert(order_add(&o, &urgent, &e) == 0);
    cr_assert_eq(order_next(&o, 2 * MINUTE, 0, any, NULL)->id, 3);
    order_deinit(&o);
}

/* Goal: a user at the limit is passed over, not waited for. */
Test(order, a_user_at_the_limit_does_not_block, .timeout = 2)
{
    struct order o;
    struct err e = { 0 };
    order_init(&o);
    struct order_item a = item(&o, "ada", 1, 5, 0), b = item(&o, "bob", 2, 0, 0);
    cr_assert(order_add(&o, &a, &e) == 0 && order_add(&o, &b, &e) == 0);
    order_run(a.user, 1, 0);
    a.user->claiming = 1;
    cr_assert_eq(order_next(&o, 0, 2, any, NULL)->id, 2);
    cr_assert_eq(order_next(&o, 0, 3, any, NULL)->id, 1);
    int64_t not_this = 1;
    cr_assert_eq(order_next(&o, 0, 0, all_but, &not_this)->id, 2);
    order_remove(&o, &b);
    cr_assert_null(order_next(&o, 0, 2, any, NULL));
    order_deinit(&o);
}

/* ---- against a plain sort -------------------------------------------------------------------- */
#define MANY 400
static int64_t now_ms;

static int by_total(const void *x, const void *y)
{
    const struct order_item *a = *(struct order_item *const *)x,
                            *b = *(struct order_item *const *)y;
    const int64_t ta = order_terms(a, now_ms).total, tb = order_terms(b, now_ms).total;
    if (ta != tb) return ta > tb ? -1 : 1;
    if (a->queued_ms != b->queued_ms) return a->queued_ms < b->queued_ms ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static void expect_sorted(const struct order *o, struct order_item *items)
{
    struct order_item *sorted[MANY];
    size_t n = 0;
    for (size_t i = 0; i < MANY; i++)
        if (items[i].listed) sorted[n++] = &items[i];
    qsort(sorted, n, sizeof sorted[0], by_total);
    cr_assert(order_ok(o) && o->n == n);
    for (size_t i = 0; i < n; i++) {
        int64_t ahead[5];
        cr_assert_eq(order_position(o, sorted[i], now_ms), (int64_t)i + 1);
        const size_t got = order_ahead(o, sorted[i], now_ms, ahead, 5);
        cr_assert_eq(got, i < 5 ? i : 5);
        for (size_t k = 0; k < got; k++) cr_assert_eq(ahead[k], sorted[k]->id);
    }
    if (n > 0) cr_assert_eq(order_next(o, now_ms, 0, any, NULL), sorted[0]);
}

/* Goal: places, those ahead and the next to run are the same as if everything were sorted anew, at
 * any time and for any shares. */
Test(order, is_that_of_a_sort, .timeout = 20)
{
    static struct order_item items[MANY];
    static const char *const users[] = { "ada", "bob", "cyd", "dan" };
    struct order o;
    struct err e = { 0 };
    order_init(&o);
    srand(7);
    for (int round = 0; round < 20; round++) {
        now_ms = (int64_t)rand() % (3 * DAY_MS);
        for (size_t i = 0; i < MANY; i++) {
            if (rand() % 3 == 0) continue;
            if (items[i].listed) {
                order_remove(&o, &items[i]);
                continue;
            }
            items[i] = item(&o, users[rand() % 4], (int64_t)i + 1, rand() % 5 - 2,
                            (int64_t)rand() % (3 * DAY_MS));
            cr_assert(order_add(&o, &items[i], &e) == 0);
        }
        for (size_t i = 0; i < 4; i++) user_of(&o, users[i])->usage = rand() % 10000;
        order_refresh(&o, 0);
        expect_sorted(&o, items);
    }
    order_deinit(&o);
}

/* Goal: with 100,000 queued one claim (the next one, and out of the array) takes under 1 ms. */
Test(order, a_claim_is_quick, .timeout = 20)
{
    enum { N = 100000 };
    struct order o;
    struct err e = { 0 };
    order_init(&o);
    struct order_item *items = calloc(N, sizeof items[0]);
    for (int i = 0; i < N; i++) {
        items[i] = item(&o, i % 3 == 0 ? "ada" : "bob", i + 1, 0, i);
        cr_assert(order_add(&o, &items[i], &e) == 0);
    }
    const int64_t begin = clock_mono_ns();
    for (int i = 0; i < 100; i++) {
        struct order_item *next = order_next(&o, N, 0, any, NULL);
        (void)order_position(&o, &items[N - 1], N);
        order_remove(&o, next);
    }
    const double ms = (double)(clock_mono_ns() - begin) / 1e6 / 100;
    cr_assert_lt(ms, 1.0, "%.3f ms", ms);
    order_deinit(&o);
    free(items);
}
