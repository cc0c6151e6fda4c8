/* density: see density.h. */
#include "worker/kernels/density.h"

#include "worker/kernels/kernels_table.h"

struct counting {
    const struct kernels *k;
    const struct tensor_desc *d;
    const void *x;
    struct span b, t;
    _Atomic uint64_t events;
};

/* Inputs of one sample that are not zero. Sums of whole numbers need no order. */
static void count_sample(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    struct counting *j = ctx;
    const size_t n = j->d->h * j->d->row;
    uint64_t events = 0;
    for (size_t t = j->t.begin; t < j->t.end; t++) {
        const size_t at = (j->b.begin + item) * j->d->sample + t * j->d->time;
        events += j->d->kind == TENSOR_BITS ? j->k->count_bits((const uint64_t *)j->x + at, n)
                                            : j->k->count_counts((const uint8_t *)j->x + at, n);
    }
    j->events += events;
}

bool density_events(const struct kernel_ctx *kc, const struct tensor_desc *d, const void *x,
                    struct span b, struct span t, double limit)
{
    if (d->kind != TENSOR_BITS && d->kind != TENSOR_COUNT8) return false;
    if (kc->path == KERNEL_PATH_EVENT || kc->path == KERNEL_PATH_DENSE)
        return kc->path == KERNEL_PATH_EVENT;
    struct counting j = { .k = kc->k, .d = d, .x = x, .b = b, .t = t };
    threads_run(kc->threads, b.end - b.begin, count_sample, &j);
    const size_t all = (b.end - b.begin) * (t.end - t.begin) * d->h * d->w * d->c;
    return (double)j.events < limit * (double)all;
}
