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
    size_t program_bytes;   /* code, libraries, OpenBLAS's buffers, stacks: measured, not counted */
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
/* Samples of a part that a limit of the spec leaves; 0 = no limit. */
size_t footprint_limited(size_t count, int64_t limit);
/* ERR_OUT_OF_PLAN, naming the kinds, when it is more than limit_bytes; 0 = no limit. */
int footprint_check(const struct footprint *f, size_t limit_bytes, struct err *e);

#endif
