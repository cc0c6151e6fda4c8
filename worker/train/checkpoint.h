/* checkpoint: all that a training run is, in one safetensors file: weights, buffers, optimiser
 * moments, best weights, position. Written and read by the trainer on the main thread (design 6).
 */
#ifndef WORKER_CHECKPOINT_H
#define WORKER_CHECKPOINT_H

#include "common/digest.h"
#include "common/err.h"
#include "worker/nets/net.h"
#include "worker/train/ema.h"
#include "worker/train/optimizer.h"

#define CHECKPOINT_FORMAT 2 /* 1 had the moments in the kernels' packed order */
#define CHECKPOINT_MAKER_MAX 80

struct checkpoint_state {
    uint64_t step;   /* updates done */
    uint64_t epoch;  /* epoch that goes on */
    uint64_t cursor; /* samples of that epoch already seen */
    bool tested;     /* the run is over and its test results were said */
    double best_accuracy; /* on validation; NaN = none yet */
    uint64_t best_step;
    double val_loss, val_accuracy; /* of the last validation; NaN = none yet */
    uint64_t val_step;             /* when it was; 0 = none yet */
    double stop_best;              /* early stop: best figure, larger is better; NaN = none yet */
    uint64_t stop_waited;          /* validations since then */
    struct ema *ema; /* borrowed from the trainer; NULL or unused: none */
    float *best;     /* all weights and buffers, PyTorch order, or NULL; owned by the trainer */
    size_t best_floats;
    char result_hash[DIGEST_HEX_MAX];
    char build[CHECKPOINT_MAKER_MAX], cpu[CHECKPOINT_MAKER_MAX]; /* of this process */
    /* "build on CPU" of another kind that trained a part of this; "" = none. The bits of the whole
     * are then nobody's alone: the experiment carries a flag from there on (design 6). */
    char mixed[2 * CHECKPOINT_MAKER_MAX];
};
/* dir/checkpoint-<step>.safetensors, atomically: weights and buffers by their names, the best ones
 * as "best.<name>", averages as "ema.<name>",
 * moments as "optimizer.<slot>.<name>", all in PyTorch's shape and order. Then
 * deletes all up to this step but the newest `keep` of them, this one among them.
 * Errors: ERR_IO, ERR_NOMEM. */
int checkpoint_save(const char *dir, const struct net *n, const struct optimizer *o,
                    const struct checkpoint_state *s, size_t keep, struct err *e);
/* The newest valid checkpoint of dir with the same result_hash; damaged ones are skipped with a
 * warning, one of another build or CPU is taken and noted in s->mixed. *found = false when there is
 * none. s->best must hold s->best_floats.
 * Errors: ERR_IO, ERR_NOMEM, ERR_CONFLICT (of another spec or data). */
int checkpoint_load(const char *dir, struct net *n, struct optimizer *o, struct checkpoint_state *s,
                    bool *found, struct err *e);
/* For a run that begins anew in dir: ERR_CONFLICT when a checkpoint of another spec or other data
 * lies there, which a later resume would meet. Others: ERR_NOMEM. */
int checkpoint_refuse_foreign(const char *dir, const char *result_hash, struct err *e);
/* Hard-links (else copies) the newest checkpoint of `from` into `to`. Errors: ERR_IO. */
int checkpoint_link(const char *from, const char *to, bool *found, struct err *e);

/* Weights and buffers by PyTorch's names and shapes: what people load elsewhere.
 * values NULL: the net's own; else as collected by weights_collect. batches: updates that made
 * them, num_batches_tracked of every batch normalisation. */
int weights_save(const char *path, const struct net *n, const float *values, uint64_t batches,
                 struct err *e);
/* Reports missing, unexpected and wrongly shaped names all at once. Errors: ERR_DATA, ERR_IO. */
int weights_load(const char *path, struct net *n, struct err *e);
/* What another run left, to begin with: a file of weights, or a checkpoint, of which `best` takes
 * the best ones so far. The rest of a checkpoint is not looked at. Errors: as weights_load. */
int weights_start(const char *path, struct net *n, bool best, struct err *e);
size_t weights_floats(const struct net *n); /* of all parameters and buffers, PyTorch order */
void weights_collect(const struct net *n, float *out);
void weights_restore(struct net *n, const float *values);

#endif
