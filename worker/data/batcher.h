/* batcher: which samples make a batch, augmented, normalised and encoded into a net's input. Called
 * by train/ on the main thread; filling uses the pool. Every number is a function of (seed, epoch,
 * index), so neither threads nor an interruption change a batch (design 5.9). */
#ifndef WORKER_BATCHER_H
#define WORKER_BATCHER_H

#include "common/philox.h"
#include "worker/data/dataset.h"
#include "worker/data/encode.h"
#include "worker/kernels/threads.h"
#include "worker/tensor/tensor.h"

/* Samples of one set: training (less validation), validation, or test. */
struct sample_set {
    const struct dataset *data;
    enum dataset_part part;
    uint32_t *index; /* into the part, ascending */
    size_t count;
};
/* Cuts the validation set per class by hash of index (design 5.14) and applies the limits.
 * fraction 0 gives an empty validation set. Errors: ERR_NOMEM, ERR_DATA (a set is empty). */
int sample_sets_make(const struct dataset *data, const struct spec_dataset *spec, uint64_t seed,
                     struct sample_set *train, struct sample_set *validation,
                     struct sample_set *test, struct err *e);
void sample_set_deinit(struct sample_set *s);

struct batcher {
    const struct spec_dataset *spec;
    struct encoder encoder;
    struct philox_key shuffle, augment, encode;
    struct threads *threads;
    float *pixels;    /* scratch: the frames of a sample and one more for each thread */
    size_t image, frames, threads_count;
    uint32_t *order;  /* shuffled positions of the set in use */
    size_t order_count;
    uint32_t *lengths; /* where batcher_fill puts its samples' time-steps; borrowed, or NULL */
};
/* Errors: ERR_NOMEM. samples_max: largest set. */
int batcher_init(struct batcher *b, const struct dataset *data, const struct spec_dataset *spec,
                 size_t time_steps, uint64_t seed, size_t samples_max, struct threads *threads,
                 struct err *e);
void batcher_deinit(struct batcher *b);
/* Order of an epoch: a shuffle for training, the set's own order for evaluation. */
void batcher_begin(struct batcher *b, const struct sample_set *set, uint64_t epoch, bool shuffle);
/* Fills samples [first, first + n) of the order into the input tensor, and their labels.
 * augment: apply the transforms. */
void batcher_fill(struct batcher *b, const struct sample_set *set, uint64_t epoch, size_t first,
                  size_t n, bool augment, const struct tensor_desc *desc, void *input,
                  uint32_t *labels);

#endif
