/* trainer: the loop over epochs and steps. See trainer.h; set-up is in trainer_setup.c. */
#include "worker/train/trainer.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/train/profile.h"
#include "worker/train/schedule.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define SYSTEM_EVERY_STEPS 20

/* ---- points ---------------------------------------------------------------------------------- */
int trainer_point(struct trainer *t, const char *name, double value, struct err *e)
{
    if (t->o.output.points == NULL) return 0;
    const struct point p = { t->at.step, clock_wall_ms(), value };
    const struct wire_series s = { name, &p, 1 };
    return t->o.output.points(t->o.output.ctx, &s, 1, e);
}

static int step_points(struct trainer *t, const struct loss_result *r, size_t samples, double lr,
                       struct err *e)
{
    if (t->o.output.points == NULL) return 0;
    const int64_t now = clock_wall_ms();
    const struct point p[3] = {
        { t->at.step, now, r->loss },
        { t->at.step, now, (double)r->correct / (double)samples },
        { t->at.step, now, lr },
    };
    const struct wire_series s[3] = { { "train/loss", &p[0], 1 }, { "train/accuracy", &p[1], 1 },
                                      { "train/lr", &p[2], 1 } };
    return t->o.output.points(t->o.output.ctx, s, 3, e);
}

static double samples_per_s(const struct trainer *t)
{
    const double seconds = (double)(clock_mono_ms() - t->started_ms) / 1000.0;
    return seconds > 0 ? (double)t->samples_seen / seconds : 0.0;
}

static int system_points(struct trainer *t, struct err *e)
{
    if (t->at.step % SYSTEM_EVERY_STEPS != 0 || t->o.output.points == NULL) return 0;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    int rc = trainer_point(t, "sys/step_ms", t->step_ms, e);
    if (rc == 0) rc = trainer_point(t, "sys/samples_per_s", samples_per_s(t), e);
    if (rc == 0) rc = trainer_point(t, "sys/rss_bytes", (double)usage.ru_maxrss * 1024.0, e);
    return rc;
}

static void report_progress(struct trainer *t)
{
    if (t->o.output.progress == NULL) return;
    const struct train_progress p = {
        .step = t->at.step,
        .steps_total = t->steps_total,
        .epoch = t->at.epoch,
        .epochs = (uint64_t)t->spec->train.epochs,
        .samples_per_s = samples_per_s(t),
        .batches = t->batches,
        .train_loss = t->last_train_loss,
        .val_accuracy = t->at.val_accuracy,
    };
    t->o.output.progress(t->o.output.ctx, &p);
}

/* ---- one update ------------------------------------------------------------------------------ */
/* Names the first layer whose gradient is not finite. */
static int diverged(const struct trainer *t, const char *what, struct err *e)
{
    for (size_t i = 0; i < net_node_count(t->net); i++) {
        struct net_node_info info;
        net_node(t->net, i, &info);
        if (info.parameters > 0 && !isfinite(net_grad_norm(t->net, i)))
            return err_set(e, ERR_DIVERGED,
                           "step %" PRIu64 ": %s is not finite, first in layer %s (%s)",
                           t->at.step + 1, what, info.path, info.type);
    }
    return err_set(e, ERR_DIVERGED, "step %" PRIu64 ": %s is not finite", t->at.step + 1, what);
}

/* Weights can leave the finite numbers while loss and gradient stay there: a silent layer has
 * both. Looked for where weights are judged or kept: before validation, test and checkpoint. */
static int check_weights(const struct trainer *t, struct err *e)
{
    size_t floats;
    double squares;
    const float *w = net_weights(t->net, &floats);
    const struct kernel_ctx *kc = net_kernel_ctx(t->net);
    if (f32_sum_squares(kc, w, floats, &squares)) return 0;
    for (size_t i = 0; i < net_param_count(t->net); i++) {
        const struct net_param *p = net_param(t->net, i);
        if (p->role != NET_WEIGHT || f32_sum_squares(kc, w + p->offset, p->floats, &squares))
            continue;
        struct net_node_info info;
        net_node(t->net, p->node, &info);
        return err_set(e, ERR_DIVERGED,
                       "step %" PRIu64 ": a weight is not finite, first in layer %s (%s)",
                       t->at.step, info.path, info.type);
    }
    return err_set(e, ERR_DIVERGED, "step %" PRIu64 ": a weight is not finite", t->at.step);
}

/* Rate of the update that follows `step` updates in this epoch; lr: the spec's. */
static double rate(const struct trainer *t, uint64_t step, double lr)
{
    const uint64_t epochs = (uint64_t)t->spec->train.epochs;
    const struct schedule_place at = { t->at.epoch, epochs, step, t->steps_per_epoch * epochs };
    return schedule_rate(&t->spec->train.schedule, lr, &at);
}

/* Where a pass stands in its update. */
struct pass {
    size_t samples, offset; /* of the batch; those of the update's batches before it */
    size_t total;           /* samples of the update */
};

/* Forward, loss, backward of the batch in the net's input: its share of the update's loss. */
static struct loss_result run_pass(struct trainer *t, const struct pass *p)
{
    const struct net_step s = { .step = t->at.step, .sample_offset = p->offset,
                                .samples = p->samples, .training = true, .lengths = t->lengths };
    net_forward(t->net, &s);
    const struct tensor_desc *yd, *gd;
    const void *y = net_output(t->net, &yd);
    float *g = net_output_gradient(t->net, &gd);
    const struct spec_train *train = &t->spec->train;
    const struct loss_args a = { .loss = &train->loss, .readout = train->readout,
                                 .shards = (size_t)train->shards, .samples = p->samples,
                                 .total = p->total, .labels = t->labels,
                                 .lengths = t->lengths };
    const struct loss_result r = loss_compute(&a, yd, y, gd, g);
    net_backward(t->net, &s);
    return r;
}

/* Steps along the net's gradients; loss: of the whole update. */
static int apply(struct trainer *t, double loss, struct err *e)
{
    const int64_t begin = profile_now(t->profile);
    const struct kernel_ctx *kc = net_kernel_ctx(t->net);
    size_t floats;
    float *gradients = net_gradients(t->net, &floats);
    double squares, rates[1 + SPEC_GROUPS_MAX];
    optimizer_silence(&t->optimizer, gradients);
    const bool finite = f32_sum_squares(kc, gradients, floats, &squares);
    if (!isfinite(loss)) return diverged(t, "the loss", e);
    if (!finite) return diverged(t, "the gradient", e);
    const double clip = t->spec->train.grad_clip, norm = sqrt(squares);
    const double scale = clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1.0;
    for (size_t i = 0; i < t->optimizer.n_groups; i++)
        rates[i] = rate(t, t->at.step, t->optimizer.groups[i].lr);
    optimizer_update(&t->optimizer, kc, rates, scale, net_weights(t->net, &floats), gradients);
    ema_update(&t->ema, t->net);
    profile_add(t->profile, PROFILE_OPTIMIZER, begin);
    return 0;
}

int trainer_update(struct trainer *t, size_t samples, struct loss_result *out, struct err *e)
{
    *out = run_pass(t, &(struct pass){ .samples = samples, .total = samples });
    return apply(t, out->loss, e);
}

/* The gradient of an update of K batches is gK + (... ((g1 + g2) + g3) ...), in float. */
static void gather(struct trainer *t, bool first, bool last)
{
    const struct kernel_ctx *kc = net_kernel_ctx(t->net);
    size_t floats;
    float *g = net_gradients(t->net, &floats);
    if (first && last) return;
    if (last) f32_add(kc, g, t->accumulated, floats);
    else if (first) memcpy(t->accumulated, g, floats * sizeof g[0]);
    else f32_add(kc, t->accumulated, g, floats);
}

/* The next `total` samples of the epoch, batch by batch, then one update. */
static int update(struct trainer *t, size_t total, struct loss_result *out, struct err *e)
{
    const struct tensor_desc *desc;
    void *input = net_input_data(t->net, &desc);
    const size_t size = (size_t)t->spec->train.batch_size;
    *out = (struct loss_result){ 0 };
    for (size_t done = 0; done < total; done += t->batch) {
        t->batch = total - done < size ? total - done : size;
        const int64_t begin = profile_now(t->profile);
        batcher_fill(&t->batcher, &t->train, t->at.epoch, (size_t)t->at.cursor + done, t->batch,
                     true, desc, input, t->labels);
        profile_add(t->profile, PROFILE_DATA, begin);
        const struct pass p = { .samples = t->batch, .offset = done, .total = total };
        const struct loss_result r = run_pass(t, &p);
        out->loss += r.loss;
        out->correct += r.correct;
        gather(t, done == 0, done + t->batch == total);
    }
    return apply(t, out->loss, e);
}

static int train_step(struct trainer *t, struct err *e)
{
    const int64_t begin = clock_mono_ns();
    const size_t left = t->train.count - (size_t)t->at.cursor;
    const size_t size = (size_t)trainer_update_size(t), total = left < size ? left : size;
    struct loss_result r;
    profile_begin(t->profile, t->net);
    int rc = update(t, total, &r, e);
    profile_end(t->profile, t->net, begin);
    if (rc != 0) return rc;
    t->at.step++;
    t->at.cursor += total;
    t->samples_seen += total;
    t->batches++;
    t->at.tested = false; /* a limit that was raised: what was tested were other weights */
    t->last_train_loss = r.loss;
    t->step_ms = (double)(clock_mono_ns() - begin) / 1e6;
    const double lr = rate(t, t->at.step - 1, t->spec->train.optimizer.lr);
    rc = step_points(t, &r, total, lr, e);
    if (rc == 0) rc = system_points(t, e);
    if (rc == 0 && t->o.observer.after_step != NULL)
        rc = t->o.observer.after_step(t->o.observer.ctx, t, e);
    report_progress(t);
    return rc;
}

/* ---- evaluation ------------------------------------------------------------------------------ */
static void note_activity(struct trainer *t, size_t samples)
{
    if (t->activity != NULL) activity_add(t->activity, t->net, samples);
}

/* All T of the batch in the net's input: layer by layer, or chunk by chunk. */
static void evaluate_batch(struct trainer *t, const struct net_step *s)
{
    if (!net_streams(t->net)) {
        net_forward(t->net, s);
        note_activity(t, s->samples);
        return;
    }
    net_stream_begin(t->net);
    for (bool first = true; net_stream_step(t->net, s); first = false)
        note_activity(t, first ? s->samples : 0);
}

struct evaluation trainer_evaluate(struct trainer *t, const struct sample_set *set)
{
    const size_t size = (size_t)t->spec->train.batch_size;
    const struct tensor_desc *desc, *yd;
    void *input = net_input_data(t->net, &desc);
    struct evaluation v = { .samples = set->count };
    size_t correct = 0;
    batcher_begin(&t->batcher, set, 0, false);
    for (size_t first = 0; first < set->count; first += size) {
        const size_t n = set->count - first < size ? set->count - first : size;
        batcher_fill(&t->batcher, set, 0, first, n, false, desc, input, t->labels);
        const struct net_step s = { .step = t->at.step, .sample_offset = first, .samples = n,
                                    .lengths = t->lengths };
        evaluate_batch(t, &s);
        const void *y = net_output(t->net, &yd);
        const struct loss_args a = { .loss = &t->spec->train.loss,
                                     .readout = t->spec->train.readout, .shards = 1, .samples = n,
                                     .labels = t->labels, .lengths = t->lengths };
        const struct loss_result r = loss_compute(&a, yd, y, NULL, NULL);
        for (size_t b = 0; t->predictions != NULL && b < n; b++)
            loss_readout(&a, yd, y, b, t->predictions + (first + b) * yd->c);
        v.loss += r.loss * (double)n;
        correct += r.correct;
        t->batches++;
        report_progress(t);
    }
    v.loss /= (double)(set->count > 0 ? set->count : 1);
    v.accuracy = (double)correct / (double)(set->count > 0 ? set->count : 1);
    return v;
}

/* Figures of the weights of now, or of their average; keeps them when they are the best so far. */
static int validate(struct trainer *t, uint64_t epochs_done, struct err *e)
{
    ema_swap(&t->ema, t->net);
    const struct evaluation v = trainer_evaluate(t, &t->validation);
    t->at.val_loss = v.loss;
    t->at.val_accuracy = v.accuracy;
    t->at.val_step = t->at.step;
    if (!(v.accuracy <= t->at.best_accuracy)) { /* also when there was none: NaN */
        t->at.best_accuracy = v.accuracy;
        t->at.best_step = t->at.step;
        weights_collect(t->net, t->at.best);
    }
    ema_swap(&t->ema, t->net);
    log_info("worker.train", "epoch %" PRIu64 " of %" PRId64 ", step %" PRIu64
             ": training loss %.4g, validation loss %.4g, accuracy %.2f %%", epochs_done,
             t->spec->train.epochs, t->at.step, t->last_train_loss, v.loss, 100 * v.accuracy);
    int rc = trainer_point(t, "val/loss", v.loss, e);
    if (rc == 0) rc = trainer_point(t, "val/accuracy", v.accuracy, e);
    return rc;
}

/* Validations in the middle of an epoch do not count: a step limit may have caused them. */
static void watch_gain(struct trainer *t)
{
    const struct spec_early_stop *s = &t->spec->train.early_stop;
    const bool loss = s->metric == SPEC_STOP_LOSS;
    const double now = loss ? -t->at.val_loss : t->at.val_accuracy;
    const bool gain = !(now <= t->at.stop_best + s->min_delta); /* also the first: NaN */
    if (gain) t->at.stop_best = now;
    t->at.stop_waited = gain ? 0 : t->at.stop_waited + 1;
}

static bool stops_early(const struct trainer *t)
{
    const int64_t patience = t->spec->train.early_stop.patience;
    return patience > 0 && t->at.stop_waited >= (uint64_t)patience;
}

static int evaluate_epoch(struct trainer *t, struct err *e)
{
    const uint64_t done = t->at.epoch + 1;
    const bool last = done == (uint64_t)t->spec->train.epochs;
    if (t->validation.count == 0 || (done % (uint64_t)t->spec->train.eval_every != 0 && !last))
        return 0;
    const int rc = validate(t, done, e);
    watch_gain(t);
    if (stops_early(t))
        log_info("worker.train", "ends early: %" PRIu64 " validations without gain",
                 t->at.stop_waited);
    return rc;
}

/* A step limit may end a run where no epoch ends; a resume there has its figures already. */
static int evaluate_end(struct trainer *t, struct err *e)
{
    if (t->validation.count == 0 || t->at.val_step == t->at.step) return 0;
    return validate(t, t->at.epoch, e);
}

/* ---- the loop -------------------------------------------------------------------------------- */
static int save(struct trainer *t, struct trainer_result *r, struct err *e)
{
    if (t->o.dir == NULL) return 0;
    int rc = check_weights(t, e);
    if (rc != 0) return rc;
    rc = t->o.output.sync != NULL ? t->o.output.sync(t->o.output.ctx, e) : 0;
    if (rc == 0)
        rc = checkpoint_save(t->o.dir, t->net, &t->optimizer, &t->at,
                             (size_t)t->spec->checkpoint_keep, e);
    if (rc != 0) return rc;
    r->checkpoint_step = t->at.step;
    log_info("worker.train", "checkpoint at step %" PRIu64, t->at.step);
    return 0;
}

static uint64_t step_limit(const struct trainer *t)
{
    return t->o.max_steps > 0 ? t->o.max_steps : (uint64_t)t->spec->train.max_steps;
}

static bool epoch_done(const struct trainer *t)
{
    const uint64_t size = trainer_update_size(t), n = t->train.count;
    return t->spec->train.drop_last ? t->at.cursor + size > n : t->at.cursor >= n;
}

static int end_epoch(struct trainer *t, struct err *e)
{
    int rc = check_weights(t, e);
    if (rc == 0) rc = evaluate_epoch(t, e);
    t->at.epoch++;
    t->at.cursor = 0;
    if (rc == 0 && t->o.observer.after_epoch != NULL)
        rc = t->o.observer.after_epoch(t->o.observer.ctx, t, e);
    report_progress(t);
    return rc;
}

static bool at_limit(const struct trainer *t)
{
    const uint64_t limit = step_limit(t);
    return limit > 0 && t->at.step >= limit;
}

/* The last step's checkpoint is written when its test results are said: a resume from it would say
 * them once more. */
static bool saves_now(const struct trainer *t)
{
    const bool ends = at_limit(t) || stops_early(t) ||
                      t->at.epoch >= (uint64_t)t->spec->train.epochs;
    return !ends && t->at.step % (uint64_t)t->spec->checkpoint_every_steps == 0;
}

/* Steps until the epoch or the run ends; everything said at a step comes before its checkpoint. */
static int run_epoch(struct trainer *t, struct trainer_result *r, bool *stop, struct err *e)
{
    batcher_begin(&t->batcher, &t->train, t->at.epoch, true);
    net_begin_epoch(t->net, t->at.epoch, (uint64_t)t->spec->train.epochs);
    bool over = epoch_done(t);
    int rc = 0;
    while (rc == 0 && !over && !*stop) {
        rc = train_step(t, e);
        over = epoch_done(t);
        if (rc == 0 && over) rc = end_epoch(t, e);
        if (rc == 0 && saves_now(t)) rc = save(t, r, e);
        if (t->o.output.desired != NULL) r->ended = t->o.output.desired(t->o.output.ctx);
        *stop = r->ended != DESIRED_RUN || at_limit(t) || stops_early(t);
    }
    return rc;
}

static int final_test(struct trainer *t, struct trainer_result *r, struct err *e)
{
    if (t->test.count == 0) return 0;
    const struct evaluation last = trainer_evaluate(t, &t->test);
    r->test_loss = r->best_test_loss = last.loss;
    r->test_accuracy = r->best_test_accuracy = last.accuracy;
    log_info("worker.train", "test loss %.4g, accuracy %.2f %% of %zu samples", last.loss,
             100 * last.accuracy, last.samples);
    if (t->at.best_step > 0 && t->at.best_step != t->at.step) {
        float *keep = mem_calloc(t->at.best_floats, sizeof keep[0]);
        if (keep == NULL) return err_set(e, ERR_NOMEM, "weights");
        weights_collect(t->net, keep);
        weights_restore(t->net, t->at.best);
        const struct evaluation best = trainer_evaluate(t, &t->test);
        r->best_test_loss = best.loss;
        r->best_test_accuracy = best.accuracy;
        weights_restore(t->net, keep);
        mem_free(keep);
    }
    /* A run that was interrupted after its last checkpoint has said these already. */
    if (t->at.tested) return 0;
    int rc = trainer_point(t, "test/loss", last.loss, e);
    if (rc == 0) rc = trainer_point(t, "test/accuracy", last.accuracy, e);
    t->at.tested = true;
    return rc;
}

static int write_results(struct trainer *t, struct err *e)
{
    if (t->o.dir == NULL) return 0;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/weights.safetensors", t->o.dir);
    int rc = weights_save(path, t->net, NULL, t->at.step, e);
    if (rc != 0 || t->at.best_step == 0) return rc;
    (void)snprintf(path, sizeof path, "%s/best.safetensors", t->o.dir);
    return weights_save(path, t->net, t->at.best, t->at.best_step, e);
}

int trainer_run(struct trainer *t, struct trainer_result *r, struct err *e)
{
    *r = (struct trainer_result){ .val_loss = NAN, .val_accuracy = NAN, .test_loss = NAN,
                                  .test_accuracy = NAN, .best_test_loss = NAN,
                                  .best_test_accuracy = NAN, .checkpoint_step = t->at.step };
    t->started_ms = clock_mono_ms();
    t->samples_seen = 0;
    bool stop = at_limit(t) || stops_early(t); /* a resume may begin there */
    int rc = 0;
    while (rc == 0 && !stop && t->at.epoch < (uint64_t)t->spec->train.epochs)
        rc = run_epoch(t, r, &stop, e);
    if (rc == 0 && r->ended == DESIRED_RUN) {
        rc = check_weights(t, e);
        if (rc == 0) rc = evaluate_end(t, e);
        ema_swap(&t->ema, t->net);
        if (rc == 0) rc = final_test(t, r, e);
        if (rc == 0) rc = write_results(t, e);
        ema_swap(&t->ema, t->net);
    }
    if (rc == 0 && r->ended != DESIRED_CANCEL) rc = save(t, r, e);
    t->profile = NULL;
    r->step = t->at.step;
    r->best_step = t->at.best_step;
    r->stopped_early = stops_early(t);
    r->best_val_accuracy = t->at.best_accuracy;
    r->val_loss = t->at.val_loss;
    r->val_accuracy = t->at.val_accuracy;
    return rc;
}
