/* trainer_setup: opens the data, builds the net and finds the place to go on from. See
 * trainer.h. */
#include "common/mem.h"
#include "worker/train/trainer.h"

#include "build_id.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static size_t memory_limit(const struct spec *s)
{
    if (s->memory_mib > 0) return (size_t)s->memory_mib << 20;
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (size_t)pages * (size_t)bytes : 0;
}

/* Neurons that a monitor of membrane potentials may ask for. */
static bool is_watched(const struct spec *s, const struct spec_layer *l)
{
    bool watched = false;
    for (size_t i = 0; l->type == SPEC_NEURON && i < s->n_monitors; i++) {
        const struct spec_monitor *m = &s->monitors[i];
        if (m->type != SPEC_MONITOR_MEMBRANE) continue;
        watched |= m->n_layers == 0;
        for (size_t k = 0; k < m->n_layers; k++) watched |= spec_glob(m->layers[k], l->path);
    }
    return watched;
}

static struct footprint_data data_of(const struct trainer *t)
{
    const struct dataset *d = t->data;
    const struct spec_dataset *s = &t->spec->dataset;
    return (struct footprint_data){
        .image = d->c * d->h * d->w,
        .frames = d->t,
        .train = footprint_limited(d->count[DATASET_TRAIN], s->train_limit),
        .test = footprint_limited(d->count[DATASET_TEST], s->test_limit),
        .bytes = d->bytes,
    };
}

static struct net_options options_of(const struct trainer *t, enum isa isa,
                                     enum kernel_path path)
{
    const struct spec *s = t->spec;
    /* Evaluation alone walks time first unless a call has all steps (design 5.1). */
    const size_t steps = (size_t)s->time_steps, call = spec_call_steps(&s->train);
    const bool streams = !t->o.training && call > 0;
    const bool spikes = s->dataset.encoder != SPEC_ENCODER_DIRECT;
    return (struct net_options){
        .input = { .b = (size_t)s->train.batch_size, .t = streams && call < steps ? call : steps,
                   .c = t->data->c, .h = t->data->h, .w = t->data->w,
                   .repeat = !spikes && t->data->t == 1, .bits = spikes },
        .training = t->o.training,
        .shards = (size_t)s->train.shards,
        .threads = t->o.threads > 0 ? t->o.threads : (size_t)s->threads,
        .exact = s->train.numerics == SPEC_NUMERICS_EXACT,
        .isa = isa,
        .seed = s->seed,
        .path = path,
        .span_steps = call,
        .stream_steps = streams ? steps : 0,
    };
}

static int build_net(struct trainer *t, struct err *e)
{
    const struct spec *s = t->spec;
    enum isa isa;
    enum kernel_path path;
    int rc = kernels_choose(&isa, e);
    if (rc == 0) rc = kernels_choose_path(NULL, &path, e);
    if (rc != 0) return rc;
    struct net_options o = options_of(t, isa, path);
    const struct footprint_data data = data_of(t);
    bool *watched = mem_calloc(s->n_layers, sizeof watched[0]);
    if (watched == NULL) return err_set(e, ERR_NOMEM, "%zu layers", s->n_layers);
    for (size_t i = 0; i < s->n_layers; i++) watched[i] = is_watched(s, &s->layers[i]);
    o.watched = watched;
    rc = footprint_build(&t->net, &t->footprint, s, t->data->classes, &o, &data, memory_limit(s),
                         e);
    mem_free(watched);
    if (rc == 0) rc = net_start(t->net, e);
    return rc;
}

/* What else decides bits, for checkpoints (design 5.8). */
static int note_maker(struct trainer *t, struct err *e)
{
    enum isa isa;
    char cpu[KERNELS_CPU_MAX];
    const int rc = kernels_choose(&isa, e);
    if (rc != 0) return rc;
    kernels_cpu(isa, cpu);
    (void)snprintf(t->at.cpu, sizeof t->at.cpu, "%s", cpu);
    (void)snprintf(t->at.build, sizeof t->at.build, "%.79s", SPIKED_BUILD);
    return 0;
}

/* Spec and data together: what a checkpoint must agree with. */
static int result_hash(struct trainer *t, struct err *e)
{
    uint8_t both[2 * DIGEST_BYTES], all[DIGEST_BYTES];
    int rc = spec_result_hash(t->spec, both, e);
    if (rc != 0) return rc;
    memcpy(both + DIGEST_BYTES, t->data->digest, DIGEST_BYTES);
    digest_bytes(both, sizeof both, all);
    digest_hex(all, t->at.result_hash);
    return 0;
}

static int allocate(struct trainer *t, struct err *e)
{
    const size_t largest = most(t->train.count, most(t->validation.count, t->test.count));
    t->threads = net_kernel_ctx(t->net)->threads;
    int rc = batcher_init(&t->batcher, t->data, &t->spec->dataset,
                          (size_t)t->spec->time_steps, t->spec->seed, largest, t->threads, e);
    if (rc != 0) return rc;
    t->labels = mem_calloc((size_t)t->spec->train.batch_size, sizeof t->labels[0]);
    if (t->labels == NULL) return err_set(e, ERR_NOMEM, "labels");
    if (t->data->own_lengths) {
        t->lengths = mem_calloc((size_t)t->spec->train.batch_size, sizeof t->lengths[0]);
        if (t->lengths == NULL) return err_set(e, ERR_NOMEM, "lengths");
        t->batcher.lengths = t->lengths;
    }
    if (!t->o.training) return 0;
    size_t floats;
    (void)net_weights(t->net, &floats);
    rc = optimizer_init(&t->optimizer, &t->spec->train.optimizer, floats, e);
    if (rc == 0) rc = optimizer_group(&t->optimizer, t->net, &t->spec->train, e);
    if (rc == 0) rc = ema_init(&t->ema, t->net, t->spec->train.ema_decay, e);
    if (rc != 0) return rc;
    t->at.ema = &t->ema;
    if (t->spec->train.accumulate > 1) {
        t->accumulated = mem_calloc(floats, sizeof t->accumulated[0]);
        if (t->accumulated == NULL) return err_set(e, ERR_NOMEM, "accumulated gradients");
    }
    t->at.best_floats = weights_floats(t->net);
    t->at.best = mem_calloc(t->at.best_floats + 1, sizeof t->at.best[0]);
    return t->at.best != NULL ? 0 : err_set(e, ERR_NOMEM, "best weights");
}

uint64_t trainer_update_size(const struct trainer *t)
{
    const struct spec_train *train = &t->spec->train;
    return (uint64_t)train->batch_size * (uint64_t)(train->accumulate > 1 ? train->accumulate : 1);
}

static void count_steps(struct trainer *t)
{
    const uint64_t n = t->train.count, size = trainer_update_size(t);
    t->steps_per_epoch = t->spec->train.drop_last ? n / size : (n + size - 1) / size;
    t->steps_total = t->steps_per_epoch * (uint64_t)t->spec->train.epochs;
    const uint64_t limit = t->o.max_steps > 0 ? t->o.max_steps : (uint64_t)t->spec->train.max_steps;
    if (limit > 0 && limit < t->steps_total) t->steps_total = limit;
}

/* Only the data tell what a user's folder holds; the parser cannot know. */
static int check_data(const struct trainer *t, struct err *e)
{
    const struct spec_dataset *d = &t->spec->dataset;
    const size_t n = d->n_normalize;
    if (d->n_frames > 0 && t->data->kind != SPEC_DATA_EVENTS)
        return err_set(e, ERR_SPEC, "/dataset/frames: '%s' has no events", d->name);
    if (d->encoder != SPEC_ENCODER_DIRECT && t->data->kind != SPEC_DATA_IMAGES)
        return err_set(e, ERR_SPEC, "/dataset/encoder/type: samples of '%s' have a time of their "
                       "own: leave the encoder out", d->name);
    if (n <= 1 || n == t->data->c) return 0;
    return err_set(e, ERR_SPEC,
                   "/dataset/normalize/mean: %zu values, but the data have %zu channels; "
                   "give 1 or %zu", n, t->data->c, t->data->c);
}

int trainer_init(struct trainer *t, const struct spec *spec, const struct trainer_options *o,
                 struct err *e)
{
    *t = (struct trainer){ .spec = spec, .o = *o };
    t->at.best_accuracy = t->at.val_loss = t->at.val_accuracy = t->last_train_loss = NAN;
    t->at.stop_best = NAN;
    const struct dataset_request request = { &spec->dataset, (size_t)spec->time_steps,
                                             o->data_dir };
    int rc = dataset_open(&t->data, &request, e);
    if (rc == 0) rc = check_data(t, e);
    if (rc == 0)
        rc = sample_sets_make(t->data, &spec->dataset, spec->seed, &t->train, &t->validation,
                              &t->test, e);
    if (rc == 0) rc = build_net(t, e);
    if (rc == 0) rc = result_hash(t, e);
    if (rc == 0) rc = note_maker(t, e);
    if (rc == 0) rc = allocate(t, e);
    if (rc != 0) {
        trainer_deinit(t);
        return rc;
    }
    count_steps(t);
    if (t->steps_per_epoch == 0) {
        trainer_deinit(t);
        return err_set(e, ERR_SPEC, "batch_size %lld leaves no whole update of the training data",
                       (long long)spec->train.batch_size);
    }
    return 0;
}

void trainer_deinit(struct trainer *t)
{
    mem_free(t->at.best);
    mem_free(t->labels);
    mem_free(t->lengths);
    mem_free(t->accumulated);
    ema_deinit(&t->ema);
    optimizer_deinit(&t->optimizer);
    batcher_deinit(&t->batcher);
    net_destroy(t->net);
    sample_set_deinit(&t->train);
    sample_set_deinit(&t->validation);
    sample_set_deinit(&t->test);
    dataset_close(t->data);
    *t = (struct trainer){ 0 };
}

int trainer_resume(struct trainer *t, bool *resumed, struct err *e)
{
    return checkpoint_load(t->o.dir, t->net, &t->optimizer, &t->at, resumed, e);
}
