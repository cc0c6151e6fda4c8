/* threads: see threads.h. Workers spin for a short while between two jobs, since a training step is
 * hundreds of jobs back to back, and sleep on a condition variable after that.
 *
 * The kernel may wake a worker on the CPU of the thread that woke it, which works itself and then
 * spins: they would take turns, for a tenth of a second and more before it moves one of them. So a
 * worker that finds itself there moves to another CPU that it may use, and may use all of them
 * again after that. */
#include "worker/kernels/threads.h"

#include "common/mem.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#define SPIN_ROUNDS 4000

struct threads {
    size_t count;
    pthread_t *others; /* count - 1 */
    size_t started;
    void (*fn)(void *ctx, size_t item, size_t thread);
    void *ctx;
    size_t items;
    atomic_size_t job;  /* raised for every job; workers wait for it to change */
    atomic_size_t left; /* workers that have not finished the job */
    atomic_bool stop;
    _Atomic int caller; /* CPU of the thread that announced the job */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};
struct seat {
    struct threads *t;
    size_t index;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void run_share(struct threads *t, size_t thread)
{
    const size_t begin = t->items * thread / t->count;
    const size_t end = t->items * (thread + 1) / t->count;
    for (size_t i = begin; i < end; i++) t->fn(t->ctx, i, thread);
}

/* To the CPU `index` places behind `busy` among those allowed; then free again. */
static void leave_cpu(int busy, size_t index)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) return;
    const size_t steps = (index - 1) % (size_t)(CPU_COUNT(&all) - 1) + 1;
    int cpu = busy;
    for (size_t i = 0; i < steps; i++) do
            cpu = (cpu + 1) % CPU_SETSIZE;
        while (!CPU_ISSET((size_t)cpu, &all));
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) (void)sched_setaffinity(0, sizeof all, &all);
}

static void wait_for_job(struct threads *t, size_t seen, size_t index)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&t->job, memory_order_acquire) != seen) return;
        relax();
    }
    pthread_mutex_lock(&t->lock);
    while (atomic_load_explicit(&t->job, memory_order_acquire) == seen)
        pthread_cond_wait(&t->wake, &t->lock);
    pthread_mutex_unlock(&t->lock);
    const int caller = atomic_load(&t->caller);
    if (sched_getcpu() == caller) leave_cpu(caller, index);
}

static void *work(void *arg)
{
    struct seat *seat = arg;
    struct threads *t = seat->t;
    const size_t index = seat->index;
    mem_free(seat);
    for (size_t seen = 0;; seen++) {
        wait_for_job(t, seen, index);
        if (atomic_load(&t->stop)) return NULL;
        run_share(t, index);
        atomic_fetch_sub_explicit(&t->left, 1, memory_order_release);
    }
}

static int start_worker(struct threads *t, size_t index, struct err *e)
{
    struct seat *seat = mem_alloc(sizeof *seat);
    if (seat == NULL) return err_set(e, ERR_NOMEM, "thread %zu", index);
    *seat = (struct seat){ t, index };
    const int rc = pthread_create(&t->others[index - 1], NULL, work, seat);
    if (rc != 0) {
        mem_free(seat);
        return err_errno(e, rc, "thread %zu", index);
    }
    t->started++;
    return 0;
}

int threads_create(struct threads **out, size_t n, struct err *e)
{
    struct threads *t = mem_calloc(1, sizeof *t);
    if (t == NULL) return err_set(e, ERR_NOMEM, "thread pool");
    t->count = n;
    t->others = mem_calloc(n, sizeof t->others[0]);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    int rc = t->others == NULL ? err_set(e, ERR_NOMEM, "thread pool") : 0;
    for (size_t i = 1; rc == 0 && i < n; i++) rc = start_worker(t, i, e);
    if (rc != 0) {
        threads_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

static void announce(struct threads *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller, sched_getcpu());
    atomic_fetch_add_explicit(&t->job, 1, memory_order_release);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void threads_destroy(struct threads *t)
{
    if (t == NULL) return;
    atomic_store(&t->stop, true);
    announce(t);
    for (size_t i = 0; i < t->started; i++) pthread_join(t->others[i], NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    mem_free(t->others);
    mem_free(t);
}

size_t threads_count(const struct threads *t) { return t->count; }

void threads_run(struct threads *t, size_t items, void (*fn)(void *ctx, size_t item, size_t thread),
                 void *ctx)
{
    t->fn = fn;
    t->ctx = ctx;
    t->items = items;
    if (t->count == 1 || items <= 1) {
        for (size_t i = 0; i < items; i++) fn(ctx, i, 0);
        return;
    }
    atomic_store_explicit(&t->left, t->count - 1, memory_order_relaxed);
    announce(t);
    run_share(t, 0);
    while (atomic_load_explicit(&t->left, memory_order_acquire) != 0) relax();
}
