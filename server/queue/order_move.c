/* order_move: what a move in the queue changes (queue_order.h): numbers alone. Loop thread. */
#include "server/queue/queue_order.h"

bool order_same_line(const struct order_item *a, const struct order_item *b)
{
    return a->user == b->user && a->priority == b->priority && a->lift == b->lift;
}

/* ---- among a user's of one priority ---------------------------------------------------------- */
/* Where its line begins and ends in the user's array. */
static void line_of(const struct order_item *item, size_t *begin, size_t *end)
{
    const struct order_user *u = item->user;
    *begin = *end = 0;
    for (size_t i = 0; i < u->n; i++) {
        if (!order_same_line(u->items[i], item)) continue;
        if (*end == 0) *begin = i;
        *end = i + 1;
    }
}

const struct order_item *order_line_first(const struct order_item *item)
{
    size_t begin, end;
    line_of(item, &begin, &end);
    for (size_t i = begin; i < end; i++)
        if (item->user->items[i] != item) return item->user->items[i];
    return NULL;
}

/* Those before the item that stand too close give way, each by a millisecond. */
static size_t push(const struct order_user *u, size_t begin, size_t at, struct order_step *steps,
                   size_t n)
{
    int64_t limit = steps[0].place - ORDER_PARTS;
    while (at-- > begin) {
        struct order_item *i = u->items[at];
        if (i == steps[0].item) continue;
        if (order_place(i) <= limit) break;
        steps[n++] = (struct order_step){ i, limit, i->lift };
        limit -= ORDER_PARTS;
    }
    return n;
}

size_t order_move(struct order_item *item, const struct order_item *before,
                  struct order_step *steps)
{
    const struct order_user *u = item->user;
    size_t begin, end, at;
    line_of(item, &begin, &end);
    for (at = begin; at < end && u->items[at] != before;) at++;
    const struct order_item *left = NULL;
    for (size_t i = at; i-- > begin && left == NULL;)
        if (u->items[i] != item) left = u->items[i];
    steps[0] = (struct order_step){ item, order_place(item), item->lift };
    if (before == NULL) {
        if (left != NULL) steps[0].place = order_place(left) + ORDER_PARTS;
        return 1;
    }
    const int64_t right = order_place(before);
    steps[0].place = right - ORDER_PARTS;
    if (left == NULL || order_place(left) < steps[0].place) return 1;
    const int64_t room = right - order_place(left);
    if (room < 2) return push(u, begin, at, steps, 1);
    steps[0].place = right - room / 2;
    return 1;
}

/* ---- among everybody's ----------------------------------------------------------------------- */
size_t order_lift(const struct order *o, struct order_item *item, bool front,
                  struct order_step *step)
{
    int64_t most = 0, least = 0;
    list_for_each(it, &o->users) {
        const struct order_user *u = container_of(it, struct order_user, link);
        for (size_t i = 0; i < u->n; i++) {
            if (u->items[i] == item) continue;
            if (u->items[i]->lift > most) most = u->items[i]->lift;
            if (u->items[i]->lift < least) least = u->items[i]->lift;
        }
    }
    *step = (struct order_step){ item, item->place, front ? most + 1 : least - 1 };
    return 1;
}

/* All that stand before the other one now go on doing so, and the item comes between. */
size_t order_lift_before(const struct order *o, struct order_item *item,
                         const struct order_item *before, int64_t wall_ms, struct order_step *steps,
                         size_t max)
{
    size_t n = 1;
    steps[0] = (struct order_step){ item, item->place, before->lift + 1 };
    list_for_each(it, &o->users) {
        const struct order_user *u = container_of(it, struct order_user, link);
        for (size_t i = 0; i < u->n && order_before(u->items[i], before, wall_ms); i++) {
            if (u->items[i] == item) continue;
            if (n >= max) return max + 1;
            steps[n++] = (struct order_step){ u->items[i], u->items[i]->place,
                                              u->items[i]->lift + 2 };
        }
    }
    return n;
}
