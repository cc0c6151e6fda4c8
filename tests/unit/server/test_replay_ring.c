/* The replay ring: numbers, order, bounds. */
#include "server/stream/replay_ring.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Goal: events are numbered from 1 and found by number until they fall out. */
Test(replay_ring, keeps_events_by_number)
{
    struct replay_ring r;
    struct err e = { 0 };
    cr_assert_eq(ring_init(&r, &e), 0);
    cr_assert(ring_get(&r, 1) == NULL);
    for (int i = 1; i <= 5; i++) {
        char data[24];
        (void)snprintf(data, sizeof data, "{\"n\":%d}", i);
        cr_assert(ring_push(&r, "tick", data, i, i % 2 == 0));
    }
    const struct ring_event *third = ring_get(&r, 3);
    cr_assert(third != NULL && third->experiment == 3 && !third->everybody);
    cr_assert_str_eq(third->text, "event: tick\ndata: {\"n\":3}\n");
    cr_assert_eq(third->length, strlen(third->text));
    cr_assert(ring_get(&r, 0) == NULL && ring_get(&r, 6) == NULL);
    ring_deinit(&r);
}

/* Goal: the oldest go first when there are too many, and numbers go on. */
Test(replay_ring, forgets_the_oldest_by_count)
{
    struct replay_ring r;
    struct err e = { 0 };
    cr_assert_eq(ring_init(&r, &e), 0);
    for (size_t i = 0; i < RING_EVENTS_MAX + 10; i++) cr_assert(ring_push(&r, "t", "{}", 1, true));
    cr_assert_eq(r.next - r.first, RING_EVENTS_MAX);
    cr_assert(ring_get(&r, 10) == NULL && ring_get(&r, 11) != NULL);
    cr_assert_eq(r.next, RING_EVENTS_MAX + 11);
    ring_deinit(&r);
}

/* Goal: large events push out as many as their bytes need. */
Test(replay_ring, forgets_the_oldest_by_bytes)
{
    struct replay_ring r;
    struct err e = { 0 };
    const size_t size = (size_t)1 << 20;
    char *data = mem_alloc(size + 1);
    memset(data, 'x', size);
    data[size] = '\0';
    cr_assert_eq(ring_init(&r, &e), 0);
    for (int i = 0; i < 40; i++) {
        cr_assert(ring_push(&r, "big", data, 1, false));
        cr_assert(r.bytes <= RING_BYTES_MAX, "%zu bytes", r.bytes);
    }
    cr_assert(r.next - r.first < 32 && r.next - r.first > 25);
    cr_assert(ring_get(&r, 40) != NULL);
    mem_free(data);
    ring_deinit(&r);
}

/* Goal: without memory nothing is lost of what was there, and nothing new is half there. */
Test(replay_ring, survives_lack_of_memory)
{
    struct replay_ring r;
    struct err e = { 0 };
    cr_assert_eq(ring_init(&r, &e), 0);
    cr_assert(ring_push(&r, "a", "{}", 1, true));
    mem_fail_after(1);
    cr_assert(!ring_push(&r, "b", "{}", 1, true));
    mem_fail_after(0);
    cr_assert(r.next == 2 && ring_get(&r, 1) != NULL && ring_get(&r, 2) == NULL);
    ring_deinit(&r);
}
