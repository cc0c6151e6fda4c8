/* footprint: the memory of a whole training process, by kind: what a plan says and what memory_mib
 * is compared with. Main thread. */
#ifndef WORKER_FOOTPRINT_H
#define WORKER_FOOTPRINT_H

#include "worker/nets/net.h"

struct footprint {
    size_t net_bytes;       /* the arena: net_plan.total_bytes */
    size_t optimizer_bytes; /* moments, gradients of earlier batches of an update */
    size_t best_bytes;      /* copy of the best weights so far, averaged weights */
    size_t staging_bytes;   /* a checkpoint as it is read, which is more than as it is written; the
                               frames of a sample for each thread */
    size_t dataset_bytes;   /* samples in memory, and the lists of them */
    size_t program_bytes;   /* code, libraries, stacks: measured, not counted */
    size_t total_bytes;
};
struct footprint_data {
    size_t image;       /* values of an image or a frame */
    size_t frames;      /* of a sample; 1: an image */
    size_t train, test; /* samples in use */
    size_t bytes;       /* of all samples in memory */
};

/* Needs a built net only. training: else there is no optimiser and no best copy. */
struct footprint footprint_of(const struct net *n, const struct spec *s,
                              const struct footprint_data *d, size_t threads, bool training);
/* Builds a net for a whole that fits limit_bytes (0 = no limit), and says what that needs: by
 * computing values again where s->train.recompute allows it. o->recompute and o->memory_bytes_max
 * are not looked at. Errors: ERR_OUT_OF_PLAN, which names the smallest memory_mib that would do,
 * and those of net_build. */
int footprint_build(struct net **out, struct footprint *f, const struct spec *s, size_t classes,
                    const struct net_options *o, const struct footprint_data *d, size_t limit_bytes,
                    struct err *e);
/* Samples of a part that a limit of the spec leaves; 0 = no limit. */
size_t footprint_limited(size_t count, int64_t limit);
#endif
