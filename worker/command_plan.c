/* command_plan: `plan` (what a network will cost), `bench` and `bench-neuron` (what it costs), and
 * `check-golden`. See commands.h. */
#include "common/clock.h"
#include "common/config.h"
#include "common/mem.h"
#include "worker/commands.h"
#include "worker/train/check_golden.h"
#include "worker/train/profile.h"
#include "worker/train/summary.h"
#include "worker/train/trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LENGTH(a) (sizeof(a) / sizeof(a)[0])

struct plan_options {
    char *data_dir;
    bool table, expand, random_data, json;
    int64_t steps, warmup, threads;
    char *only, *step_mode, *path, *input;
    int64_t classes; /* with input */
};
#define AT(member) offsetof(struct plan_options, member)

static int print_json(cJSON *json, struct err *e)
{
    char *text = json != NULL ? json_print_pretty(json, NULL) : NULL;
    cJSON_Delete(json);
    if (text == NULL) return err_set(e, ERR_NOMEM, "JSON");
    (void)printf("%s\n", text);
    mem_free(text);
    return 0;
}

/* ---- plan ------------------------------------------------------------------------------------ */
/* Known datasets give shape and numbers without their files, others are opened. */
static int plan_data(const struct spec *s, const char *data_dir, struct spec_shape *shape,
                     size_t *classes, struct footprint_data *out, struct err *e)
{
    const struct spec_dataset_info *info = s->data;
    size_t train, test;
    if (info != NULL) {
        *shape = info->shape;
        *classes = (size_t)info->classes;
        train = (size_t)info->train_count;
        test = (size_t)info->test_count;
        out->image = (size_t)(shape->c * shape->h * shape->w);
        out->frames = info->kind == SPEC_DATA_IMAGES ? 1 : (size_t)s->time_steps;
        /* one byte a value and one for the label */
        out->bytes = info->built_in ? 0 : (train + test) * (out->frames * out->image + 1);
    } else {
        struct dataset *d;
        const struct dataset_request request = { &s->dataset, (size_t)s->time_steps, data_dir };
        const int rc = dataset_open(&d, &request, e);
        if (rc != 0) return rc;
        *shape = (struct spec_shape){ (int64_t)d->c, (int64_t)d->h, (int64_t)d->w };
        *classes = d->classes;
        train = d->count[DATASET_TRAIN];
        test = d->count[DATASET_TEST];
        out->image = d->c * d->h * d->w;
        out->frames = d->t;
        out->bytes = d->bytes;
        dataset_close(d);
    }
    out->train = footprint_limited(train, s->dataset.train_limit);
    out->test = footprint_limited(test, s->dataset.test_limit);
    return 0;
}

static int plan_net(const struct spec *s, const char *data_dir, struct net **out,
                    struct footprint *footprint, struct err *e)
{
    struct spec_shape shape = { 0 };
    struct footprint_data data = { 0 };
    size_t classes = 0;
    enum isa isa;
    int rc = plan_data(s, data_dir, &shape, &classes, &data, e);
    enum kernel_path path;
    if (rc == 0) rc = kernels_choose(&isa, e);
    if (rc == 0) rc = kernels_choose_path(NULL, &path, e);
    if (rc != 0) return rc;
    const bool spikes = s->dataset.encoder != SPEC_ENCODER_DIRECT;
    const struct net_options o = {
        .input = { (size_t)s->train.batch_size, (size_t)s->time_steps, (size_t)shape.c,
                   (size_t)shape.h, (size_t)shape.w, !spikes && data.frames == 1, spikes },
        .training = true,
        .shards = (size_t)s->train.shards,
        .threads = (size_t)s->threads,
        .exact = s->train.numerics == SPEC_NUMERICS_EXACT,
        .isa = isa,
        .path = path,
        .seed = s->seed,
        .span_steps = spec_call_steps(&s->train),
    };
    /* What does not fit is shown all the same, unless it was to be made to fit. */
    const bool made_to_fit = s->train.recompute != SPEC_RECOMPUTE_OFF;
    return footprint_build(out, footprint, s, classes, &o, &data,
                           made_to_fit ? (size_t)s->memory_mib << 20 : 0, e);
}

static cJSON *plan_json(const struct net *n, const struct footprint *f)
{
    const struct net_plan *p = net_plan(n);
    const struct {
        const char *name;
        size_t value;
    } rows[] = {
        { "parameters", p->parameters },           { "parameters_bytes", p->parameters_bytes },
        { "gradients_bytes", p->gradients_bytes }, { "buffers_bytes", p->buffers_bytes },
        { "activations_bytes", p->activations_bytes }, { "saved_bytes", p->saved_bytes },
        { "scratch_bytes", p->scratch_bytes },     { "io_bytes", p->io_bytes },
        { "network_bytes", f->net_bytes },         { "optimizer_bytes", f->optimizer_bytes },
        { "best_bytes", f->best_bytes },           { "staging_bytes", f->staging_bytes },
        { "dataset_bytes", f->dataset_bytes },     { "program_bytes", f->program_bytes },
        { "total_bytes", f->total_bytes },         { "macs_per_sample", (size_t)p->macs },
        { "recomputed_macs_per_sample", (size_t)p->recomputed_macs },
        { "total_without_recompute_bytes",
          f->total_bytes - p->total_bytes + p->without_recompute_bytes },
    };
    cJSON *json = cJSON_CreateObject();
    bool ok = json != NULL;
    for (size_t i = 0; ok && i < LENGTH(rows); i++)
        ok = json_add_int(json, rows[i].name, (int64_t)rows[i].value);
    cJSON *list = ok ? cJSON_AddArrayToObject(json, "layers") : NULL;
    for (size_t i = 0; list != NULL && i < net_node_count(n); i++) {
        struct net_node_info info;
        net_node(n, i, &info);
        cJSON *o = cJSON_CreateObject();
        const double shape[3] = { (double)info.out.c, (double)info.out.h, (double)info.out.w };
        ok = o != NULL && cJSON_AddItemToArray(list, o) &&
             cJSON_AddStringToObject(o, "path", info.path) != NULL &&
             cJSON_AddStringToObject(o, "type", info.type) != NULL &&
             cJSON_AddItemToObject(o, "shape", cJSON_CreateDoubleArray(shape, 3)) &&
             json_add_int(o, "parameters", (int64_t)info.parameters) &&
             json_add_int(o, "macs", (int64_t)info.macs) &&
             json_add_int(o, "activation_bytes", (int64_t)info.activation_bytes) &&
             cJSON_AddBoolToObject(o, "static_prefix", info.repeat) != NULL &&
             cJSON_AddBoolToObject(o, "recomputed", info.recomputed) != NULL;
        if (!ok) list = NULL;
    }
    if (list != NULL) return json;
    cJSON_Delete(json);
    return NULL;
}

static void plan_table(const struct net *n, const struct footprint *t)
{
    (void)printf("%-24s %-20s %-16s %12s %14s %12s\n", "layer", "type", "output", "parameters",
                 "MACs/sample", "MiB");
    for (size_t i = 0; i < net_node_count(n); i++) {
        struct net_node_info f;
        net_node(n, i, &f);
        char shape[40];
        (void)snprintf(shape, sizeof shape, "%zux%zux%zu%s%s", f.out.c, f.out.h, f.out.w,
                       f.repeat ? " once" : "", f.recomputed ? " again" : "");
        (void)printf("%-24s %-20s %-16s %12zu %14" PRIu64 " %12.2f\n", f.path, f.type, shape,
                     f.parameters, f.macs, (double)f.activation_bytes / 1048576.0);
    }
    const struct net_plan *p = net_plan(n);
    const struct {
        const char *name;
        size_t bytes;
    } kinds[] = { { "network", t->net_bytes },        { "optimiser", t->optimizer_bytes },
                  { "best weights", t->best_bytes },  { "staging", t->staging_bytes },
                  { "dataset", t->dataset_bytes },    { "program", t->program_bytes } };
    for (size_t i = 0; i < LENGTH(kinds); i++)
        (void)printf("%-74s %12.2f\n", kinds[i].name, (double)kinds[i].bytes / 1048576.0);
    (void)printf("%zu parameters, %" PRIu64 " MACs a sample, %.1f MiB\n", p->parameters, p->macs,
                 (double)t->total_bytes / 1048576.0);
    if (p->total_bytes < p->without_recompute_bytes)
        (void)printf("%" PRIu64 " MACs a sample are computed again; %.1f MiB if none were\n",
                     p->recomputed_macs,
                     (double)(t->total_bytes - p->total_bytes + p->without_recompute_bytes) /
                         1048576.0);
}

int command_plan(int argc, char **argv, struct err *e)
{
    static const struct config_row rows[] = {
        { "data-dir", CONFIG_STRING, AT(data_dir), .metavar = "DIR", .help = "folder of datasets" },
        { "table", CONFIG_BOOL, AT(table), "false", .help = "for people" },
        { "expand", CONFIG_BOOL, AT(expand), "false",
          .help = "print the normalised spec: presets as lists, every default" },
        { "input", CONFIG_STRING, AT(input), .metavar = "CxHxW",
          .help = "shape of a sample instead of the dataset's; with --classes" },
        { "classes", CONFIG_INT, AT(classes), "0", 0, 65536, .metavar = "N",
          .help = "classes instead of the dataset's" },
    };
    struct spec_dataset_info given;
    struct plan_options o = { 0 };
    struct spec spec = { 0 };
    struct net *net = NULL;
    struct footprint footprint = { 0 };
    int rc = config_load(rows, LENGTH(rows), NULL, NULL, &argc, argv, &o, e);
    if (rc == 0 && argc != 2)
        rc = err_set(e, ERR_INVALID, "usage: plan SPEC.json [--table | --expand]");
    if (rc == 0 && (o.input != NULL) != (o.classes > 0))
        rc = err_set(e, ERR_INVALID, "--input CxHxW and --classes N go together");
    if (rc == 0)
        rc = o.input == NULL ? command_load_spec(argv[1], &spec, e)
                             : command_load_spec_for(argv[1], o.input, o.classes, &given, &spec, e);
    if (rc == 0 && !o.expand) rc = plan_net(&spec, o.data_dir, &net, &footprint, e);
    if (rc == 0 && o.expand) rc = print_json(spec_normalize(&spec), e);
    else if (rc == 0 && o.table) plan_table(net, &footprint);
    else if (rc == 0) rc = print_json(plan_json(net, &footprint), e);
    net_destroy(net);
    spec_deinit(&spec);
    config_deinit(rows, LENGTH(rows), &o);
    return rc;
}

/* ---- bench ----------------------------------------------------------------------------------- */
static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* {"min", "median", "max"} of the times, which are sorted in place. */
static bool add_times(cJSON *json, const char *name, double *ms, size_t n)
{
    qsort(ms, n, sizeof ms[0], by_value);
    cJSON *o = cJSON_AddObjectToObject(json, name);
    return o != NULL && json_add_number(o, "min", ms[0]) &&
           json_add_number(o, "median", ms[n / 2]) && json_add_number(o, "max", ms[n - 1]);
}

struct bench {
    struct profile profile;
    double *step, *forward, *backward, *rest;
    long faults; /* minor page faults of all measured steps */
};

static void random_batch(struct trainer *t)
{
    const struct tensor_desc *d;
    void *input = net_input_data(t->net, &d);
    const struct philox_key key = philox_key(t->spec->seed, PHILOX_BENCH);
    for (size_t b = 0; b < d->b; b++) {
        if (t->lengths != NULL) t->lengths[b] = (uint32_t)d->t;
        t->labels[b] = philox_below(key, 0, (uint32_t)b, 0, 1, (uint32_t)t->data->classes);
        for (size_t s = 0; s < d->t_stored; s++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t p = 0; p < d->h * d->w; p++)
                    tensor_set(
                        d, input, b, s, c, p / d->w, p % d->w,
                        philox_uniform(key, c * d->h * d->w + p, (uint32_t)b, (uint32_t)s, 0));
    }
}

static int bench_steps(struct trainer *t, const struct plan_options *o, struct bench *m,
                       struct err *e)
{
    struct rusage before, after;
    const size_t batch = (size_t)t->spec->train.batch_size;
    for (int64_t i = -o->warmup; i < o->steps; i++) {
        const struct tensor_desc *d;
        void *input = net_input_data(t->net, &d);
        if (i == 0) (void)getrusage(RUSAGE_SELF, &before);
        t->batch = batch < t->train.count ? batch : t->train.count;
        if (!o->random_data)
            batcher_fill(&t->batcher, &t->train, 0, 0, t->batch, true, d, input, t->labels);
        const int64_t begin = clock_mono_ns();
        struct loss_result r;
        struct profile *profile = i >= 0 ? &m->profile : NULL;
        profile_begin(profile, t->net);
        const int rc = trainer_update(t, t->batch, &r, e);
        profile_end(profile, t->net, begin);
        if (rc != 0) return rc;
        t->at.step++;
        if (i < 0) continue;
        m->step[i] = profile_last(&m->profile, PROFILE_STEP);
        m->forward[i] = profile_last(&m->profile, PROFILE_FORWARD);
        m->backward[i] = profile_last(&m->profile, PROFILE_BACKWARD);
        m->rest[i] = m->step[i] - m->forward[i] - m->backward[i];
    }
    (void)getrusage(RUSAGE_SELF, &after);
    m->faults = after.ru_minflt - before.ru_minflt;
    return 0;
}

static cJSON *bench_json(struct trainer *t, const struct plan_options *o, struct bench *m)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    const size_t n = (size_t)o->steps;
    enum isa isa = ISA_GENERIC;
    struct err ignored = { 0 };
    (void)kernels_choose(&isa, &ignored);
    cJSON *json = cJSON_CreateObject();
    const bool ok = json != NULL && add_times(json, "step_ms", m->step, n) &&
                    add_times(json, "forward_ms", m->forward, n) &&
                    add_times(json, "backward_ms", m->backward, n) &&
                    add_times(json, "optimizer_ms", m->rest, n) &&
                    json_add_int(json, "peak_rss_bytes", (int64_t)usage.ru_maxrss * 1024) &&
                    json_add_number(json, "page_faults_per_step", (double)m->faults / (double)n) &&
                    json_add_int(json, "plan_bytes", (int64_t)net_plan(t->net)->total_bytes) &&
                    json_add_int(json, "threads", (int64_t)threads_count(t->threads)) &&
                    cJSON_AddStringToObject(json, "isa", isa_name(isa)) != NULL;
    cJSON *layers = ok ? profile_layers(&m->profile, t->net) : NULL;
    if (layers != NULL && cJSON_AddItemToObject(json, "layers", layers)) return json;
    cJSON_Delete(layers);
    cJSON_Delete(json);
    return NULL;
}

static int bench(struct trainer *t, const struct plan_options *o, struct err *e)
{
    const size_t n = (size_t)o->steps;
    double *all = mem_calloc(4 * n, sizeof all[0]);
    if (all == NULL) return err_set(e, ERR_NOMEM, "times");
    struct bench m = {
        .step = all, .forward = all + n, .backward = all + 2 * n, .rest = all + 3 * n
    };
    int rc = profile_init(&m.profile, t->net, e);
    if (o->random_data) random_batch(t);
    else batcher_begin(&t->batcher, &t->train, 0, true);
    if (rc == 0) rc = bench_steps(t, o, &m, e);
    if (rc == 0) rc = print_json(bench_json(t, o, &m), e);
    profile_deinit(&m.profile);
    mem_free(all);
    return rc;
}

int command_bench(int argc, char **argv, struct err *e)
{
    static const struct config_row rows[] = {
        { "data-dir", CONFIG_STRING, AT(data_dir), .metavar = "DIR", .help = "folder of datasets" },
        { "random-data", CONFIG_BOOL, AT(random_data), "false", .help = "uniform pixels" },
        { "steps", CONFIG_INT, AT(steps), "10", 1, 100000, .metavar = "N",
          .help = "measured steps" },
        { "warmup", CONFIG_INT, AT(warmup), "2", 0, 100000, .metavar = "N",
          .help = "steps before" },
        { "threads", CONFIG_INT, AT(threads), "0", 0, 1024, .metavar = "N",
          .help = "0 = the spec's" },
        COMMAND_STEP_MODE(AT(step_mode)),
    };
    struct plan_options o = { 0 };
    struct spec spec = { 0 };
    struct trainer t = { 0 };
    int rc = config_load(rows, LENGTH(rows), NULL, NULL, &argc, argv, &o, e);
    if (rc == 0 && argc != 2) rc = err_set(e, ERR_INVALID, "usage: bench SPEC.json");
    if (rc == 0) rc = command_load_spec(argv[1], &spec, e);
    if (rc == 0) rc = command_step_mode(o.step_mode, &spec, e);
    const struct spec_dataset_info *info = rc == 0 ? spec_dataset_find(spec.dataset.name) : NULL;
    /* Random pixels need no files: the built-in dataset of the same shape stands in. */
    if (o.random_data && info != NULL && info->shape.c == 1 && info->shape.h == 28)
        (void)snprintf(spec.dataset.name, sizeof spec.dataset.name, "glyphs");
    if (rc == 0) {
        const struct trainer_options to = { .data_dir = o.data_dir, .threads = (size_t)o.threads,
                                            .training = true };
        rc = trainer_init(&t, &spec, &to, e);
    }
    if (rc == 0) rc = bench(&t, &o, e);
    trainer_deinit(&t);
    spec_deinit(&spec);
    config_deinit(rows, LENGTH(rows), &o);
    return rc;
}

/* ---- check-golden ---------------------------------------------------------------------------- */
/* "stream" is to "stream:N" what "single" is to "chunk:N", but walks time first. */
static int golden_step_mode(const char *text, struct check_golden_options *g, struct err *e)
{
    char chunk[64];
    struct spec_train mode = { 0 };
    const bool stream = strncmp(text, "stream", 6) == 0;
    if (stream) (void)snprintf(chunk, sizeof chunk, "chunk%s", text[6] == '\0' ? ":1" : text + 6);
    if (spec_read_step_mode(stream ? chunk : text, &mode, e) != 0)
        return err_set(e, ERR_INVALID,
                       "--step-mode %.40s: must be multi, single, chunk:N, stream or stream:N with "
                       "N from 1 to %d", text, SPEC_TIME_STEPS_MAX);
    *(stream ? &g->stream_steps : &g->span_steps) = spec_call_steps(&mode);
    return 0;
}

int command_check_golden(int argc, char **argv, struct err *e)
{
    static const struct config_row rows[] = {
        { "json", CONFIG_BOOL, AT(json), "false", .help = "one JSON object" },
        { "threads", CONFIG_INT, AT(threads), "1", 1, 1024, .metavar = "N",
          .help = "compute threads" },
        { "only", CONFIG_STRING, AT(only), .metavar = "PREFIX", .help = "family or case" },
        { "step-mode", CONFIG_STRING, AT(step_mode), .metavar = "MODE",
          .help = "multi, single or chunk:N; stream or stream:N: forward, time first" },
        { "path", CONFIG_STRING, AT(path), .metavar = "PATH",
          .help = "auto, event, dense or winograd" },
    };
    struct plan_options o = { 0 };
    struct check_golden_result r = { 0 };
    struct check_golden_options g = { 0 };
    int rc = config_load(rows, LENGTH(rows), NULL, NULL, &argc, argv, &o, e);
    if (rc == 0 && argc != 2) rc = err_set(e, ERR_INVALID, "usage: check-golden DIR");
    if (rc == 0) rc = kernels_choose(&g.isa, e);
    if (rc == 0) rc = kernels_choose_path(o.path, &g.path, e);
    if (rc == 0 && o.step_mode != NULL) rc = golden_step_mode(o.step_mode, &g, e);
    if (rc == 0) {
        g.json = o.json;
        g.threads = (size_t)o.threads;
        g.only = o.only;
        rc = check_golden(argv[1], &g, stdout, &r, e);
    }
    if (rc == 0 && r.failed > 0)
        rc = err_set(e, ERR_INTERNAL, "%zu cases passed, %zu failed", r.passed, r.failed);
    config_deinit(rows, LENGTH(rows), &o);
    return rc;
}
