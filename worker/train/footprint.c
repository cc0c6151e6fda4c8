/* footprint: see footprint.h. */
#include "worker/train/footprint.h"

#include "worker/train/checkpoint.h"

/* Peak of a training of a small net, less what is counted: 14 to 18 MiB on x86-64. */
#define PROGRAM_BYTES ((size_t)16 << 20)

size_t footprint_limited(size_t count, int64_t limit)
{
    return limit > 0 && (size_t)limit < count ? (size_t)limit : count;
}

/* Training and validation set have a list each, the batcher one of the largest. */
static size_t list_bytes(const struct footprint_data *d)
{
    const size_t largest = d->train > d->test ? d->train : d->test;
    return (2 * d->train + d->test + largest) * sizeof(uint32_t);
}

struct footprint footprint_of(const struct net *n, const struct spec *s,
                              const struct footprint_data *d, size_t threads, bool training)
{
    const size_t weights = weights_floats(n) * sizeof(float);
    const size_t slots = training ? optimizer_slots(&s->train.optimizer) : 0;
    struct footprint f = {
        .net_bytes = net_plan(n)->total_bytes,
        .optimizer_bytes = (slots + (training && s->train.accumulate > 1)) *
                           net_plan(n)->parameters_bytes,
        .best_bytes = training ? weights * (s->train.ema_decay > 0 ? 2 : 1) : 0,
        .staging_bytes = weights + (d->frames + 1) * d->image * threads * sizeof(float),
        .dataset_bytes = d->bytes + list_bytes(d),
        .program_bytes = PROGRAM_BYTES,
    };
    if (training) f.staging_bytes += 2 * weights + slots * net_plan(n)->parameters * sizeof(float);
    f.total_bytes = f.net_bytes + f.optimizer_bytes + f.best_bytes + f.staging_bytes +
                    f.dataset_bytes + f.program_bytes;
    return f;
}

int footprint_check(const struct footprint *f, size_t limit_bytes, struct err *e)
{
    if (limit_bytes == 0 || f->total_bytes <= limit_bytes) return 0;
    const size_t copies = f->optimizer_bytes + f->best_bytes + f->staging_bytes;
    return err_set(e, ERR_OUT_OF_PLAN,
                   "the run needs %zu MiB (network %zu, optimiser and copies of the weights %zu, "
                   "data %zu), the limit is %zu MiB; a smaller batch or fewer time-steps need less",
                   (f->total_bytes >> 20) + 1, f->net_bytes >> 20, copies >> 20,
                   f->dataset_bytes >> 20, limit_bytes >> 20);
}
