/* The pool: every item once, in contiguous shares, again and again. */
#include "worker/kernels/threads.h"

#include <criterion/criterion.h>
#include <string.h>

#define ITEMS 1000

struct visit {
    unsigned char times[ITEMS];
    unsigned char by[ITEMS];
};

static void note(void *ctx, size_t item, size_t thread)
{
    struct visit *v = ctx;
    v->times[item]++; /* items are disjoint: no two threads write one byte */
    v->by[item] = (unsigned char)thread;
}

/* Goal: for any number of threads and items each item is done exactly once, by shares in order. */
Test(threads, every_item_once, .timeout = 30)
{
    static const size_t counts[] = { 0, 1, 2, 3, 7, 64, 999, ITEMS };
    for (size_t n = 1; n <= 5; n++) {
        struct threads *t;
        struct err e = { 0 };
        cr_assert_eq(threads_create(&t, n, &e), 0);
        cr_assert_eq(threads_count(t), n);
        for (size_t round = 0; round < 40; round++)
            for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
                struct visit v = { 0 };
                threads_run(t, counts[k], note, &v);
                for (size_t i = 0; i < ITEMS; i++) {
                    cr_assert_eq(v.times[i], i < counts[k], "%zu threads, %zu items, item %zu", n,
                                 counts[k], i);
                    if (i > 0 && i < counts[k]) cr_assert(v.by[i] >= v.by[i - 1] && v.by[i] < n);
                }
            }
        threads_destroy(t);
    }
    threads_destroy(NULL);
}
