/* The pool: every item once, in contiguous shares, again and again. */
#include "worker/kernels/threads.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

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

/* CPUs on which a thread of the pool ran, and whether it may use all of the process's. */
struct places {
    int cpu[3];
    bool free[3];
};

static void note_place(void *ctx, size_t item, size_t thread)
{
    struct places *p = ctx;
    cpu_set_t own;
    (void)item;
    p->cpu[thread] = sched_getcpu();
    p->free[thread] = sched_getaffinity(0, sizeof own, &own) == 0 && CPU_COUNT(&own) > 1;
    /* It will wake where the caller is, unless it leaves. */
    if (thread == 0) return;
    cpu_set_t first, all = own;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    (void)sched_setaffinity(0, sizeof first, &first);
    (void)sched_setaffinity(0, sizeof all, &all);
}

/* Goal: workers that wake on the CPU of their caller leave it, and none stays pinned. */
Test(threads, workers_leave_the_callers_cpu, .timeout = 30)
{
    cpu_set_t all, first;
    struct threads *t;
    struct err e = { 0 };
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2 || !CPU_ISSET(0, &all)) {
        cr_log_warn("SKIPPED threads: one CPU");
        return;
    }
    cr_assert_eq(threads_create(&t, 2, &e), 0);
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    (void)sched_setaffinity(0, sizeof first, &first); /* the caller alone */
    int shared = 0;
    for (int round = 0; round < 50; round++) {
        struct places p = { 0 };
        threads_run(t, 2, note_place, &p);
        cr_assert(p.free[1], "round %d: the worker stays pinned", round);
        shared += p.cpu[0] == p.cpu[1];
        (void)usleep(2000); /* until it sleeps */
    }
    cr_assert_lt(shared, 25, "in %d of 50 jobs", shared);
    threads_destroy(t);
}
