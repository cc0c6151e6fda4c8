/* golden_train: golden cases of losses, optimisers, schedules and encoders, through the tables that
 * training uses (check_golden.h). One thread. */
#include "common/mem.h"
#include "worker/data/encode.h"
#include "worker/train/golden_case.h"
#include "worker/train/loss.h"
#include "worker/train/optimizer.h"
#include "worker/train/schedule.h"

#include <math.h>
#include <string.h>

/* ---- losses ---------------------------------------------------------------------------------- */
bool golden_loss_spec(const char *name, const cJSON *hp, struct spec_loss *out)
{
    static const struct {
        const char *name;
        enum spec_loss_type type;
        bool per_step;
    } losses[] = {
        { "ce_mean_rate", SPEC_LOSS_CROSS_ENTROPY, false },
        { "tet_ce", SPEC_LOSS_CROSS_ENTROPY, true },
        { "mse_mean_rate", SPEC_LOSS_MSE, false },
        { "mse_per_step", SPEC_LOSS_MSE, true },
        { "tet", SPEC_LOSS_TET, false },
    };
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        if (strcmp(name, losses[i].name) == 0) {
            *out = (struct spec_loss){
                .type = losses[i].type,
                .per_step = losses[i].per_step,
                .label_smoothing = json_get_number(hp, "label_smoothing", 0.0),
                .lambda = json_get_number(hp, "lambda", 0.0),
                .means = json_get_number(hp, "means", 0.0),
            };
            return true;
        }
    return false;
}

static void run_loss(struct golden_case *c, const struct spec_loss *spec,
                     const struct safetensors_entry *y, struct tensor_view *in, float *values,
                     uint32_t *labels)
{
    const size_t t_count = y->dims[0], n = y->dims[1], classes = y->dims[2];
    const float *from = y->data, *target = golden_data(c, "in.target"),
                *up = golden_data(c, "up.loss");
    for (size_t i = 0; i < y->elements; i++)
        tensor_set(&in->desc, in->data, i / classes % n, i / classes / n, i % classes, 0, 0,
                   from[i]);
    for (size_t b = 0; b < n; b++) labels[b] = (uint32_t)target[b];
    const struct tensor_desc gd = tensor_gradient(&in->desc, false);
    float *g = (float *)in->data + in->desc.elements;
    const struct loss_args a = { .loss = spec, .shards = 1, .samples = n, .labels = labels };
    const float loss = (float)loss_compute(&a, &in->desc, in->data, &gd, g).loss;
    for (size_t i = 0; i < t_count * n * classes; i++)
        values[i] = up[0] * tensor_get(&gd, g, i / classes % n, i / classes / n, i % classes, 0, 0);
    golden_compare(c, "out.loss", &loss, 1);
    golden_compare(c, "grad.y", values, y->elements);
}

void golden_run_loss(struct golden_case *c)
{
    struct spec_loss spec;
    const struct safetensors_entry *y = golden_tensor(c, "in.y");
    if (!golden_loss_spec(c->op, c->hp, &spec)) {
        golden_fail(c, "", "no op %s", c->op);
        return;
    }
    if (y == NULL || y->n_dims != 3 || golden_data(c, "in.target") == NULL ||
        golden_data(c, "up.loss") == NULL) {
        golden_fail(c, "", "no in.y, in.target or up.loss");
        return;
    }
    struct tensor_view in = { tensor_make(TENSOR_F32, y->dims[1], y->dims[0], y->dims[2], 1, 1),
                              NULL };
    in.data = mem_calloc(2 * in.desc.elements, sizeof(float)); /* y, then its gradient */
    float *values = mem_calloc(y->elements, sizeof values[0]);
    uint32_t *labels = mem_calloc(y->dims[1], sizeof labels[0]);
    if (in.data == NULL || values == NULL || labels == NULL) golden_fail(c, "", "out of memory");
    else run_loss(c, &spec, y, &in, values, labels);
    mem_free(in.data);
    mem_free(values);
    mem_free(labels);
}

/* ---- optimisers ------------------------------------------------------------------------------ */
bool golden_optimizer_spec(const char *name, const cJSON *args, struct spec_optimizer *out)
{
    const cJSON *betas = json_get(args, "betas");
    struct spec_optimizer o = {
        .lr = json_get_number(args, "lr", 0.001),
        .momentum = json_get_number(args, "momentum", 0.0),
        .dampening = json_get_number(args, "dampening", 0.0),
        .nesterov = json_get_bool(args, "nesterov", false),
        .beta1 = betas != NULL ? cJSON_GetArrayItem(betas, 0)->valuedouble : 0.9,
        .beta2 = betas != NULL ? cJSON_GetArrayItem(betas, 1)->valuedouble : 0.999,
        .eps = json_get_number(args, "eps", 1e-8),
        .amsgrad = json_get_bool(args, "amsgrad", false),
        .alpha = json_get_number(args, "alpha", 0.99),
        .centered = json_get_bool(args, "centered", false),
    };
    static const struct {
        const char *name;
        enum spec_optimizer_type type;
        double weight_decay; /* PyTorch's default */
    } rules[] = { { "SGD", SPEC_SGD, 0.0 },
                  { "Adam", SPEC_ADAM, 0.0 },
                  { "AdamW", SPEC_ADAMW, 0.01 },
                  { "RMSprop", SPEC_RMSPROP, 0.0 } };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(name, rules[i].name) == 0) {
            o.type = rules[i].type;
            o.weight_decay = json_get_number(args, "weight_decay", rules[i].weight_decay);
            *out = o;
            return true;
        }
    return false;
}

static bool in_list(const cJSON *list, const char *name)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, list)
        if (cJSON_IsString(v) && strcmp(v->valuestring, name) == 0) return true;
    return false;
}

static double rate_of_step(const struct golden_case *c, const struct spec_optimizer *s, int step)
{
    const cJSON *rates = json_get(c->hp, "lr_per_step");
    return rates != NULL ? cJSON_GetArrayItem(rates, step - 1)->valuedouble : s->lr;
}

static void compare_slots(struct golden_case *c, const struct optimizer *o, const char *name,
                          size_t n)
{
    for (size_t i = 0; i < o->ops->n_slots; i++) {
        char role[64];
        (void)snprintf(role, sizeof role, "out.state.%s.%s", name, o->ops->slots[i]);
        if (o->slot[i] != NULL) golden_compare(c, role, o->slot[i], n);
        else if (golden_expects(c, role)) golden_fail(c, role, "is not kept");
    }
}

/* One tensor as a parameter group of its own. p and g: `floats` values, 64-byte aligned. */
static void run_group(struct golden_case *c, const struct kernel_ctx *kc, struct optimizer *o,
                      const char *name, float *p, float *g)
{
    char role[64];
    (void)snprintf(role, sizeof role, "par.%s", name);
    const struct safetensors_entry *first = golden_tensor(c, role);
    memcpy(p, first->data, first->elements * sizeof p[0]);
    const int steps = (int)json_get_int(c->hp, "steps", 5);
    for (int step = 1; step <= steps; step++) {
        (void)snprintf(role, sizeof role, "in.g.%d.%s", step, name);
        const float *gradient = golden_data(c, role);
        if (gradient == NULL) {
            golden_fail(c, role, "missing");
            return;
        }
        memcpy(g, gradient, first->elements * sizeof g[0]);
        const double lr = rate_of_step(c, o->spec, step);
        optimizer_update(o, kc, &lr, 1.0, p, g);
        (void)snprintf(role, sizeof role, "out.p.%d.%s", step, name);
        golden_compare(c, role, p, first->elements);
    }
    compare_slots(c, o, name, first->elements);
}

static void run_parameter(struct golden_case *c, const struct kernel_ctx *kc,
                          const struct spec_optimizer *common, const char *name, size_t elements)
{
    struct spec_optimizer spec = *common;
    struct optimizer o;
    struct err e = { 0 };
    const size_t floats = mem_align(elements, 16);
    if (in_list(json_get(c->hp, "no_decay"), name)) spec.weight_decay = 0.0;
    if (optimizer_init(&o, &spec, floats, &e) != 0) {
        golden_fail(c, name, "%s", e.text);
        return;
    }
    float *block = mem_calloc(2 * floats + 16, sizeof block[0]);
    float *p = (float *)mem_align((size_t)block, 64);
    if (block == NULL) golden_fail(c, name, "out of memory");
    else run_group(c, kc, &o, name, p, p + floats);
    mem_free(block);
    optimizer_deinit(&o);
}

void golden_run_optimizer(struct golden_case *c)
{
    struct spec_optimizer spec;
    if (!golden_optimizer_spec(c->op, c->hp, &spec)) {
        golden_fail(c, "", "no op %s", c->op);
        return;
    }
    struct err e = { 0 };
    struct kernel_ctx kc = { .k = kernels_get(c->options->isa), .trace = c->trace };
    if (threads_create(&kc.threads, c->options->threads, &e) != 0) {
        golden_fail(c, "", "%s", e.text);
        return;
    }
    size_t found = 0;
    for (const char *name = "p0"; found < 2; name = "p1", found++) {
        char role[16];
        (void)snprintf(role, sizeof role, "par.%s", name);
        const struct safetensors_entry *p = golden_tensor(c, role);
        if (p == NULL) break;
        run_parameter(c, &kc, &spec, name, p->elements);
    }
    if (found == 0) golden_fail(c, "", "no parameter p0");
    threads_destroy(kc.threads);
}

/* ---- schedules ------------------------------------------------------------------------------- */
static bool schedule_type(const char *op, enum spec_schedule_type *out)
{
    static const struct {
        const char *op;
        enum spec_schedule_type type;
    } ops[] = {
        { "constant", SPEC_SCHEDULE_CONSTANT },      { "cosine", SPEC_SCHEDULE_COSINE },
        { "step", SPEC_SCHEDULE_STEP },              { "multistep", SPEC_SCHEDULE_MULTI_STEP },
        { "exponential", SPEC_SCHEDULE_EXPONENTIAL }, { "linear", SPEC_SCHEDULE_LINEAR },
    };
    const char *after = strncmp(op, "warmup_", 7) == 0 ? op + 7 : op; /* warm-up goes with any */
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i].op, after) == 0) {
            *out = ops[i].type;
            return true;
        }
    return false;
}

void golden_run_schedule(struct golden_case *c)
{
    struct spec_schedule s = { .t_max = json_get_int(c->hp, "T_max", 0),
                               .eta_min = json_get_number(c->hp, "eta_min", 0.0),
                               .step_size = json_get_int(c->hp, "step_size", 1),
                               .gamma = json_get_number(c->hp, "gamma", 0.1),
                               .warmup = json_get_int(c->hp, "warmup", 0),
                               .warmup_factor = json_get_number(c->hp, "start_factor", 0.01),
                               .total = json_get_int(c->hp, "total_iters", 1),
                               .start_factor = json_get_number(c->hp, "start_factor", 1.0),
                               .end_factor = json_get_number(c->hp, "end_factor", 1.0) };
    if (!schedule_type(c->op, &s.type)) {
        golden_fail(c, "", "no op %s", c->op);
        return;
    }
    const cJSON *milestone;
    cJSON_ArrayForEach(milestone, json_get(c->hp, "milestones"))
        if (s.n_milestones < SPEC_MILESTONES_MAX)
            s.milestones[s.n_milestones++] = milestone->valuedouble;
    float rates[256];
    const size_t n = (size_t)json_get_int(c->hp, "values", 50);
    if (n > sizeof rates / sizeof rates[0]) {
        golden_fail(c, "", "%zu values", n);
        return;
    }
    const double lr = json_get_number(c->hp, "lr", 0.1);
    for (size_t i = 0; i < n; i++)
        rates[i] = (float)schedule_rate(&s, lr, &(struct schedule_place){ i, n, i, n });
    golden_compare(c, "out.lr", rates, n);
}

/* ---- encoders -------------------------------------------------------------------------------- */
/* Share of spikes over `draws` draws of every probability. */
static void poisson_rates(const float *p, size_t n, size_t draws, const struct tensor_view *in,
                          double *rate)
{
    const struct spec_dataset spec = { .encoder = SPEC_ENCODER_POISSON };
    struct encoder encoder, *e = &encoder;
    encoder_init(e, &spec, in->desc.t);
    const size_t t_count = in->desc.t;
    for (size_t i = 0; i < draws / t_count; i++) {
        const struct encode_place at = { philox_key(1, PHILOX_ENCODER), (uint32_t)i, 0 };
        encode_sample(e, &at, p, &in->desc, in->data, 0);
        for (size_t k = 0; k < n; k++)
            for (size_t t = 0; t < t_count; t++)
                rate[k] += (double)tensor_get(&in->desc, in->data, 0, t, k, 0, 0);
    }
    for (size_t k = 0; k < n; k++) rate[k] /= (double)(draws / t_count * t_count);
}

static void check_poisson(struct golden_case *c, const struct safetensors_entry *p, double *rate,
                          const struct tensor_view *in)
{
    const float *prob = p->data;
    const size_t draws = (size_t)json_get_int(c->hp, "draws", 100000);
    float values[64];
    poisson_rates(prob, p->elements, draws, in, rate);
    for (size_t i = 0; i < p->elements; i++) {
        const double half = 5.0 * sqrt((double)prob[i] * (1.0 - (double)prob[i]) / (double)draws);
        if (fabs(rate[i] - (double)prob[i]) > half + 1e-12)
            golden_fail(c, "out.rate", "p = %g: rate %g is off by more than %g", (double)prob[i],
                        rate[i], half);
        values[i] = (float)half;
    }
    golden_compare(c, "out.halfwidth", values, p->elements);
    for (size_t i = 0; i < p->elements; i++) values[i] = (float)rate[i];
    golden_compare(c, "out.rate", values, p->elements);
}

static void run_poisson(struct golden_case *c)
{
    const struct safetensors_entry *p = golden_tensor(c, "in.p");
    if (p == NULL || p->elements > 64) {
        golden_fail(c, "in.p", "missing or too long");
        return;
    }
    double rate[64] = { 0 };
    struct tensor_view in = { tensor_make(TENSOR_BITS, 1, 100, p->elements, 1, 1), NULL };
    in.data = mem_calloc(in.desc.elements, sizeof(uint64_t));
    if (in.data == NULL) golden_fail(c, "", "out of memory");
    else check_poisson(c, p, rate, &in);
    mem_free(in.data);
}

/* out.y [steps][n] and, of a latency code, out.t_f [n]; values holds steps * n. */
static void compare_code(struct golden_case *c, const struct tensor_desc *d, const void *code,
                         const struct encoder *e, const float *x, float *values)
{
    const size_t n = d->c;
    for (size_t i = 0; i < d->t * n; i++)
        values[i] = tensor_get(d, code, 0, i / n, i % n, 0, 0);
    golden_compare(c, "out.y", values, d->t * n);
    if (!golden_expects(c, "out.t_f")) return;
    for (size_t i = 0; i < n; i++) values[i] = (float)encode_latency(e, x[i]);
    golden_compare(c, "out.t_f", values, n);
}

/* in.x [n] as an image of n channels; periodic: [T][n]. */
static void run_code(struct golden_case *c, const struct spec_dataset *spec, bool periodic)
{
    const struct safetensors_entry *x = golden_tensor(c, "in.x");
    const size_t t = (size_t)json_get_int(c->hp, "T", 1),
                 steps = (size_t)json_get_int(c->hp, "steps", 1), period = periodic ? t : 1;
    if (x == NULL || t == 0 || t > SPEC_TIME_STEPS_MAX || x->elements % period != 0) {
        golden_fail(c, "in.x", "missing or of another size");
        return;
    }
    const struct tensor_desc d = tensor_make(periodic ? TENSOR_F32 : TENSOR_BITS, 1, steps,
                                             x->elements / period, 1, 1);
    const struct encode_place at = { philox_key(1, PHILOX_ENCODER), 0, 0 };
    struct encoder *e = mem_calloc(1, sizeof *e);
    void *code = mem_calloc(1, tensor_bytes(&d));
    float *values = mem_calloc(steps * x->elements, sizeof values[0]);
    if (e == NULL || code == NULL || values == NULL) golden_fail(c, "", "out of memory");
    else {
        encoder_init(e, spec, t);
        if (periodic) encode_periodic(x->data, period, &d, code, 0);
        else encode_sample(e, &at, x->data, &d, code, 0);
        compare_code(c, &d, code, e, x->data, values);
    }
    mem_free(e);
    mem_free(code);
    mem_free(values);
}

void golden_run_encoder(struct golden_case *c)
{
    const bool log = strcmp(json_get_string(c->hp, "enc_function", ""), "log") == 0;
    struct spec_dataset spec = { .latency = log ? SPEC_LATENCY_LOG : SPEC_LATENCY_LINEAR,
                                 .phases = json_get_int(c->hp, "K", 8) };
    if (strcmp(c->op, "poisson") == 0) run_poisson(c);
    else if (strcmp(c->op, "periodic") == 0) run_code(c, &spec, true);
    else if (strcmp(c->op, "latency") == 0) {
        spec.encoder = SPEC_ENCODER_LATENCY;
        run_code(c, &spec, false);
    } else if (strcmp(c->op, "weighted_phase") == 0) {
        spec.encoder = SPEC_ENCODER_WEIGHTED_PHASE;
        run_code(c, &spec, false);
    } else golden_fail(c, "", "no op %s", c->op);
}
