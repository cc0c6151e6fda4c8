/* trainer: one training run: data, network, optimiser and position, and the loop over epochs. Used
 * by `train`, `attempt`, `eval` and `bench` on the main thread.
 *
 * Everything that decides a bit is in the checkpoint or a function of (seed, position): kill -9 at
 * any instant and going on from the newest checkpoint gives the same weights and series. */
#ifndef WORKER_TRAINER_H
#define WORKER_TRAINER_H

#include "worker/data/batcher.h"
#include "worker/nets/net.h"
#include "worker/train/activity.h"
#include "worker/train/checkpoint.h"
#include "worker/train/footprint.h"
#include "worker/train/loss.h"
#include "worker/train/output.h"

struct trainer;
struct profile;
/* Called at fixed points with the net's tensors of the last forward pass; monitors hang here. */
struct train_observer {
    void *ctx;
    int (*after_step)(void *ctx, struct trainer *t, struct err *e);
    int (*after_epoch)(void *ctx, struct trainer *t, struct err *e);
};
struct trainer_options {
    const char *data_dir;  /* NULL: built-in datasets only */
    const char *dir;       /* checkpoints and results; NULL: none are written */
    size_t threads;        /* 0 = the spec's */
    uint64_t max_steps;    /* 0 = the spec's */
    bool training;         /* false: evaluation only */
    struct output output;  /* functions may be NULL */
    struct train_observer observer;
};
struct trainer {
    const struct spec *spec; /* borrowed */
    struct trainer_options o;
    struct dataset *data;
    struct sample_set train, validation, test;
    struct net *net;
    struct footprint footprint; /* planned memory of the process */
    struct threads *threads; /* borrowed from the net */
    struct optimizer optimizer;
    struct batcher batcher;
    uint32_t *labels;        /* of the batch */
    uint32_t *lengths;       /* of its samples; NULL: all have T time-steps */
    struct checkpoint_state at;
    uint64_t steps_per_epoch, steps_total;
    double last_train_loss;
    double step_ms;          /* of the last step */
    int64_t started_ms;
    uint64_t samples_seen;   /* trained on since trainer_run began */
    uint64_t batches;        /* of training and evaluation since trainer_init */
    size_t batch;            /* samples of the last training batch */
    struct ema ema;          /* averaged weights; ema.decay 0: none */
    float *accumulated;      /* gradients of an update's earlier batches; NULL: it has one batch */
    struct activity *activity; /* borrowed: trainer_evaluate adds to it; NULL = not wanted */
    struct profile *profile;   /* of the observer, until trainer_run ends: every step adds to it;
                                  NULL = not wanted */
    float *predictions; /* borrowed: trainer_evaluate writes the readout of every sample of its set,
                           [samples][classes]; NULL = not wanted */
    char warning[240];       /* of the run: dead layers; "" = none */
    struct err diverged_at;
};
struct trainer_result {
    enum experiment_desired ended; /* RUN: finished; PAUSE, CANCEL: stopped on request */
    uint64_t step, best_step, checkpoint_step;
    double val_loss, val_accuracy, best_val_accuracy;
    double test_loss, test_accuracy;           /* of the last weights */
    double best_test_loss, best_test_accuracy; /* of the best weights on validation */
    bool stopped_early;
};
struct evaluation {
    double loss, accuracy;
    size_t samples;
};

/* Opens the data, builds and starts the net. Errors: ERR_DATA, ERR_SPEC, ERR_OUT_OF_PLAN,
 * ERR_NOMEM. */
int trainer_init(struct trainer *t, const struct spec *spec, const struct trainer_options *o,
                 struct err *e);
void trainer_deinit(struct trainer *t); /* safe on a zeroed trainer and when repeated */
/* Takes over the newest checkpoint of o.dir, if any. Errors: see checkpoint_load. */
int trainer_resume(struct trainer *t, bool *resumed, struct err *e);
/* Trains to the end or until output.desired says otherwise; writes checkpoints, and at the end
 * weights.safetensors and best.safetensors. Errors: ERR_DIVERGED (names step and layer), ERR_IO. */
int trainer_run(struct trainer *t, struct trainer_result *r, struct err *e);
/* Whole set, in evaluation mode. */
struct evaluation trainer_evaluate(struct trainer *t, const struct sample_set *set);
/* One update on the batch that is in the net's input; for `bench`. Errors: ERR_DIVERGED. */
int trainer_update(struct trainer *t, size_t samples, struct loss_result *out, struct err *e);
/* Samples of a whole update: batch_size * accumulate. */
uint64_t trainer_update_size(const struct trainer *t);
/* One point of one series, now. */
int trainer_point(struct trainer *t, const char *name, double value, struct err *e);

#endif
