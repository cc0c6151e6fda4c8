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
    const size_t averages = training && s->train.ema_decay > 0;
    const size_t best = training && s->dataset.validation_fraction > 0;
    struct footprint f = {
        .net_bytes = net_plan(n)->total_bytes,
        .optimizer_bytes = (slots + (training && s->train.accumulate > 1)) *
                           net_plan(n)->parameters_bytes,
        .best_bytes = weights * (best + averages),
        .staging_bytes = weights * (1 + best + averages) +
                         slots * net_plan(n)->parameters * sizeof(float) +
                         (d->frames + 1) * d->image * threads * sizeof(float),
        .dataset_bytes = d->bytes + list_bytes(d),
        .program_bytes = PROGRAM_BYTES,
    };
    f.total_bytes = f.net_bytes + f.optimizer_bytes + f.best_bytes + f.staging_bytes +
                    f.dataset_bytes + f.program_bytes;
    return f;
}

/* ---- a net that fits --------------------------------------------------------------------------
 */
struct request {
    const struct spec *spec;
    size_t classes, limit_bytes;
    const struct net_options *options;
    const struct footprint_data *data;
};

static int build(struct net **out, struct footprint *f, const struct request *r,
                 enum net_recompute how, size_t net_bytes_max, struct err *e)
{
    struct net_options o = *r->options;
    o.recompute = how;
    o.memory_bytes_max = net_bytes_max;
    const int rc = net_build(out, r->spec->layers, r->spec->n_layers, r->classes, &o, e);
    if (rc == 0) *f = footprint_of(*out, r->spec, r->data, o.threads, o.training);
    return rc;
}

static int too_large(const struct request *r, const struct footprint *f, struct err *e)
{
    const size_t copies = f->optimizer_bytes + f->best_bytes + f->staging_bytes;
    const bool off = r->spec->train.recompute == SPEC_RECOMPUTE_OFF && r->options->training;
    return err_set(e, ERR_OUT_OF_PLAN,
                   "the run needs %zu MiB%s (network %zu, optimiser and copies of the weights %zu, "
                   "data %zu), memory_mib is %zu; %sa smaller batch or fewer time-steps need less",
                   (f->total_bytes >> 20) + 1,
                   off ? "" : ", the smallest memory_mib that would do", f->net_bytes >> 20,
                   copies >> 20, f->dataset_bytes >> 20, r->limit_bytes >> 20,
                   off ? "train.recompute \"auto\", " : "");
}

static bool fits(const struct request *r, const struct footprint *f)
{
    return r->limit_bytes == 0 || f->total_bytes <= r->limit_bytes;
}

/* In place of a net that keeps everything and is too large: *out, *f. */
static int build_smaller(struct net **out, struct footprint *f, const struct request *r,
                         struct err *e)
{
    const size_t others = f->total_bytes - f->net_bytes;
    net_destroy(*out);
    *out = NULL;
    int rc = build(out, f, r, NET_RECOMPUTE_LEAST, 0, e);
    if (rc == 0 && !fits(r, f)) return too_large(r, f, e);
    if (rc != 0 || r->spec->train.recompute == SPEC_RECOMPUTE_LEAST) return rc;
    net_destroy(*out);
    *out = NULL;
    return build(out, f, r, NET_RECOMPUTE_AUTO, r->limit_bytes - others, e);
}

int footprint_build(struct net **out, struct footprint *f, const struct spec *s, size_t classes,
                    const struct net_options *o, const struct footprint_data *d, size_t limit_bytes,
                    struct err *e)
{
    const struct request r = { s, classes, limit_bytes, o, d };
    *out = NULL;
    int rc = build(out, f, &r, NET_RECOMPUTE_OFF, 0, e);
    const bool may = o->training && s->train.recompute != SPEC_RECOMPUTE_OFF;
    if (rc == 0 && may && (!fits(&r, f) || s->train.recompute == SPEC_RECOMPUTE_LEAST))
        rc = build_smaller(out, f, &r, e);
    else if (rc == 0 && !fits(&r, f)) rc = too_large(&r, f, e);
    if (rc == 0) return 0;
    net_destroy(*out);
    *out = NULL;
    return rc;
}
