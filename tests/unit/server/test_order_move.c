/* Moves in the queue: places of a user's, lifts of everybody's; against a list that is shuffled. */
#include "server/queue/queue_order.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define N 12

struct line {
    struct order o;
    struct order_item items[N];
};

static void fill(struct line *l, int64_t step_ms)
{
    struct err e = { 0 };
    order_init(&l->o);
    for (int i = 0; i < N; i++) {
        l->items[i] = (struct order_item){ .user = order_user(&l->o, i % 3 == 2 ? "bob" : "ada"),
                                           .id = i + 1,
                                           .queued_ms = 1790000000000 + i * step_ms };
        cr_assert_eq(order_add(&l->o, &l->items[i], &e), 0);
    }
}

static void apply(struct line *l, const struct order_step *steps, size_t n)
{
    struct err e = { 0 };
    for (size_t i = 0; i < n; i++) order_remove(&l->o, steps[i].item);
    for (size_t i = 0; i < n; i++) {
        steps[i].item->place = steps[i].place;
        steps[i].item->lift = steps[i].lift;
        cr_assert_eq(order_add(&l->o, steps[i].item, &e), 0);
    }
    cr_assert(order_ok(&l->o));
}

static void move_in(struct order_item **list, size_t n, struct order_item *item,
                    const struct order_item *before)
{
    struct order_item *moved[N];
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i] == before) moved[k++] = item;
        if (list[i] != item) moved[k++] = list[i];
    }
    if (before == NULL) moved[k++] = item;
    cr_assert_eq(k, n);
    memcpy(list, moved, n * sizeof list[0]);
}

static void shuffle(int64_t step_ms)
{
    static struct line l;
    fill(&l, step_ms);
    struct order_user *ada = order_user(&l.o, "ada"), *bob = order_user(&l.o, "bob");
    struct order_item *list[N];
    struct order_step steps[N];
    memcpy(list, ada->items, ada->n * sizeof list[0]);
    for (int turn = 0; turn < 2000; turn++) {
        struct order_item *item = list[(size_t)rand() % ada->n];
        const struct order_item *before = turn % 7 == 0   ? NULL
                                          : turn % 7 == 1 ? order_line_first(item)
                                                          : list[(size_t)rand() % ada->n];
        if (before == item) continue;
        const size_t n = order_move(item, before, steps);
        cr_assert(n >= 1 && n < ada->n && steps[0].item == item);
        apply(&l, steps, n);
        move_in(list, ada->n, item, before);
        cr_assert_eq(memcmp(list, ada->items, ada->n * sizeof list[0]), 0, "turn %d", turn);
    }
    for (size_t i = 0; i < bob->n; i++) cr_assert_eq(bob->items[i]->place, 0);
    order_deinit(&l.o);
}

/* Goal: an item stands right before the one it was moved before, and the others stay as they were,
 * however often there is moved and however close they were queued. */
Test(order_move, a_line_is_a_list, .timeout = 5)
{
    shuffle(60000);
    shuffle(0);
    shuffle(1);
}

static void expect_order(struct line *l, const int64_t *ids)
{
    struct order_item *items[N];
    for (int i = 0; i < N; i++)
        items[order_position(&l->o, &l->items[i], 1790000000000) - 1] = &l->items[i];
    for (int i = 0; i < N; i++) cr_assert_eq(items[i]->id, ids[i], "place %d", i + 1);
}

/* Goal: a lift puts an item before, behind or in between everybody's; who stood before stays so. */
Test(order_move, lifts_are_for_everybody, .timeout = 5)
{
    static struct line l;
    struct order_step steps[N];
    fill(&l, 1);
    apply(&l, steps, order_lift(&l.o, &l.items[8], true, steps));
    apply(&l, steps, order_lift(&l.o, &l.items[0], false, steps));
    expect_order(&l, (int64_t[]){ 9, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 1 });
    apply(&l, steps, order_lift(&l.o, &l.items[11], true, steps));
    size_t n = order_lift_before(&l.o, &l.items[9], &l.items[2], 1790000000000, steps, N);
    cr_assert_eq(n, 4); /* itself, 12, 9 and 2 */
    apply(&l, steps, n);
    expect_order(&l, (int64_t[]){ 12, 9, 2, 10, 3, 4, 5, 6, 7, 8, 11, 1 });
    n = order_lift_before(&l.o, &l.items[0], &l.items[8], 1790000000000, steps, N);
    apply(&l, steps, n);
    expect_order(&l, (int64_t[]){ 12, 1, 9, 2, 10, 3, 4, 5, 6, 7, 8, 11 });
    cr_assert_eq(order_lift_before(&l.o, &l.items[0], &l.items[10], 1790000000000, steps, 5), 6);
    order_deinit(&l.o);
}

/* Goal: what was moved back counts as queued later, so that all orders agree. */
Test(order_move, a_place_carries_its_age, .timeout = 5)
{
    static struct line l;
    struct order_step steps[N];
    fill(&l, 60 * 60000);
    const int64_t now = l.items[N - 1].queued_ms;
    cr_assert_eq(order_terms(&l.items[0], now).age, 60 * (N - 1));
    apply(&l, steps, order_move(&l.items[0], NULL, steps));
    cr_assert_eq(order_terms(&l.items[0], now).age, 59, "behind number 11, an hour old");
    cr_assert_eq(order_position(&l.o, &l.items[0], now), N - 1);
    order_deinit(&l.o);
}
