/* golden_trajectory: twenty steps of training from given weights, through the trainer's own update
 * (check_golden.h). One thread. */
#include "common/mem.h"
#include "worker/train/golden_case.h"
#include "worker/train/trainer.h"

#include <string.h>

#define LAYERS_MAX 32
#define BATCH_MAX 64
#define STEPS_MAX 256

struct trajectory {
    struct golden_case *c;
    struct spec spec; /* network and train */
    struct spec_layer layers[LAYERS_MAX];
    size_t t, batch, batches, steps;
    struct net *net;
};

/* ---- the spec -------------------------------------------------------------------------------- */
static const struct safetensors_entry *param_of(const struct golden_case *c, size_t layer,
                                                const char *name)
{
    char role[48];
    (void)snprintf(role, sizeof role, "par.%zu.%s", layer, name);
    return golden_tensor(c, role);
}

static bool fill_conv(struct golden_case *c, size_t i, struct spec_layer *l)
{
    const struct safetensors_entry *w = param_of(c, i, "weight");
    if (w == NULL) return false;
    l->type = SPEC_CONV2D;
    l->u.conv2d = (struct spec_conv2d){
        .out_channels = (int64_t)w->dims[0], .kernel_size = { 3, 3 }, .stride = { 1, 1 },
        .padding = { 1, 1 }, .dilation = { 1, 1 }, .groups = 1,
        .bias = param_of(c, i, "bias") != NULL };
    return true;
}

static bool fill_linear(struct golden_case *c, size_t i, struct spec_layer *l)
{
    const struct safetensors_entry *w = param_of(c, i, "weight");
    if (w == NULL) return false;
    l->type = SPEC_LINEAR;
    l->u.linear.out_features = (int64_t)w->dims[0];
    l->u.linear.bias = param_of(c, i, "bias") != NULL;
    return true;
}

static bool fill_neuron(struct golden_case *c, size_t i, struct spec_layer *l)
{
    (void)i;
    l->type = SPEC_NEURON;
    return golden_neuron_spec(c, json_get_string(c->hp, "neuron", ""), &l->u.neuron);
}

static bool fill_norm(struct golden_case *c, size_t i, struct spec_layer *l)
{
    (void)c;
    (void)i;
    l->type = SPEC_BATCH_NORM;
    l->u.batch_norm.eps = 1e-5;
    l->u.batch_norm.momentum = 0.1;
    return true;
}

static bool fill_pool(struct spec_layer *l, enum spec_layer_type type)
{
    l->type = type;
    l->u.pool = (struct spec_pool2d){ .kernel_size = { 2, 2 }, .stride = { 2, 2 },
                                      .count_include_pad = true };
    return true;
}

static bool fill_max(struct golden_case *c, size_t i, struct spec_layer *l)
{
    (void)c;
    (void)i;
    return fill_pool(l, SPEC_MAX_POOL2D);
}

static bool fill_average(struct golden_case *c, size_t i, struct spec_layer *l)
{
    (void)c;
    (void)i;
    return fill_pool(l, SPEC_AVG_POOL2D);
}

static bool fill_flatten(struct golden_case *c, size_t i, struct spec_layer *l)
{
    (void)c;
    (void)i;
    l->type = SPEC_FLATTEN;
    return true;
}

static bool fill_voting(struct golden_case *c, size_t i, struct spec_layer *l)
{
    (void)i;
    l->type = SPEC_VOTING;
    l->u.voting.size = json_get_int(c->hp, "voting", 1);
    return true;
}

static const struct {
    const char *module;
    bool (*fill)(struct golden_case *c, size_t i, struct spec_layer *l);
} modules[] = {
    { "Conv2d", fill_conv },       { "BatchNorm2d", fill_norm },
    { "MaxPool2d", fill_max },     { "AvgPool2d", fill_average },
    { "Flatten", fill_flatten },   { "Linear", fill_linear },
    { "VotingLayer", fill_voting }, { "IFNode", fill_neuron },
    { "LIFNode", fill_neuron },    { "ParametricLIFNode", fill_neuron },
    { "PSN", fill_neuron },
};

static bool add_layer(struct trajectory *t, const char *module)
{
    const size_t i = t->spec.n_layers++;
    struct spec_layer *l = &t->layers[i];
    *l = (struct spec_layer){ .type = SPEC_FLATTEN };
    (void)snprintf(l->path, sizeof l->path, "%zu", i);
    for (size_t k = 0; k < sizeof modules / sizeof modules[0]; k++)
        if (strcmp(modules[k].module, module) == 0) {
            const size_t before = t->c->failures;
            if (modules[k].fill(t->c, i, l)) return true;
            if (t->c->failures == before) golden_fail(t->c, module, "no weight of layer %zu", i);
            return false;
        }
    golden_fail(t->c, "", "no op %s", module);
    return false;
}

static bool read_spec(struct trajectory *t)
{
    struct golden_case *c = t->c;
    const char *loss = json_get_string(c->hp, "loss", ""),
               *opt = json_get_string(c->hp, "optimizer", "");
    t->t = (size_t)json_get_int(c->hp, "T", 1);
    t->batch = (size_t)json_get_int(c->hp, "batch", 1);
    t->batches = (size_t)json_get_int(c->hp, "batches", 1);
    t->steps = (size_t)json_get_int(c->hp, "steps", 20);
    if (t->batch > BATCH_MAX || t->steps > STEPS_MAX || t->batches == 0) {
        golden_fail(c, "", "too large");
        return false;
    }
    struct spec_train *train = &t->spec.train;
    train->shards = 1;
    if (!golden_loss_spec(loss, c->hp, &train->loss)) {
        golden_fail(c, "", "no op %s", loss);
        return false;
    }
    if (!golden_optimizer_spec(opt, json_get(c->hp, "optimizer_args"), &train->optimizer)) {
        golden_fail(c, "", "no op %s", opt);
        return false;
    }
    const cJSON *module;
    cJSON_ArrayForEach(module, json_get(c->hp, "layers"))
    {
        if (t->spec.n_layers == LAYERS_MAX || !cJSON_IsString(module)) {
            golden_fail(c, "", "too many layers");
            return false;
        }
        if (!add_layer(t, module->valuestring)) return false;
    }
    return true;
}

/* ---- training -------------------------------------------------------------------------------- */
/* in.x.<i> [T, N, C, H, W] and in.target.<i> [N]. */
static bool load_batch(struct trajectory *t, size_t i, uint32_t *labels)
{
    char role[48];
    const struct tensor_desc *d;
    void *x = net_input_data(t->net, &d);
    (void)snprintf(role, sizeof role, "in.x.%zu", i);
    const struct safetensors_entry *from = golden_tensor(t->c, role);
    (void)snprintf(role, sizeof role, "in.target.%zu", i);
    const float *target = golden_data(t->c, role);
    const size_t per = d->c * d->h * d->w;
    if (from == NULL || target == NULL || from->elements != d->t * d->b * per) {
        golden_fail(t->c, role, "missing, or in.x is");
        return false;
    }
    for (size_t k = 0; k < from->elements; k++)
        tensor_set(d, x, k / per % d->b, k / per / d->b, k % per / (d->h * d->w),
                   k % (d->h * d->w) / d->w, k % d->w, ((const float *)from->data)[k]);
    for (size_t b = 0; b < d->b; b++) labels[b] = (uint32_t)target[b];
    return true;
}

/* Losses of all steps; the trainer holds what one update needs. */
static void run_steps(struct trajectory *t, struct trainer *trainer, float *losses)
{
    struct err e = { 0 };
    for (size_t i = 0; i < t->steps && load_batch(t, i % t->batches, trainer->labels); i++) {
        struct loss_result r;
        trainer->at.step = i;
        if (trainer_update(trainer, t->batch, &r, &e) != 0) {
            golden_fail(t->c, "", "%s", e.text);
            return;
        }
        losses[i] = (float)r.loss;
    }
}

static void train(struct trajectory *t)
{
    struct err e = { 0 };
    float losses[STEPS_MAX];
    uint32_t labels[BATCH_MAX];
    struct trainer trainer = { .spec = &t->spec, .net = t->net, .labels = labels };
    size_t floats;
    (void)net_weights(t->net, &floats);
    if (optimizer_init(&trainer.optimizer, &t->spec.train.optimizer, floats, &e) != 0) {
        golden_fail(t->c, "", "%s", e.text);
        return;
    }
    golden_put_params(t->c, t->net, "", true);
    run_steps(t, &trainer, losses);
    if (t->c->failures == 0) {
        golden_compare(t->c, "out.loss", losses, t->steps);
        golden_compare_weights(t->c, t->net, "");
    }
    optimizer_deinit(&trainer.optimizer);
}

void golden_run_trajectory(struct golden_case *c)
{
    struct trajectory t = { .c = c };
    const struct safetensors_entry *x = golden_tensor(c, "in.x.0");
    if (!read_spec(&t)) return;
    if (x == NULL || x->n_dims != 5) {
        golden_fail(c, "in.x.0", "missing");
        return;
    }
    const bool bits = strcmp(json_get_string(c->hp, "input", ""), "spikes") == 0;
    const struct net_input in = { .b = t.batch, .t = t.t, .c = x->dims[2], .h = x->dims[3],
                                  .w = x->dims[4], .bits = bits };
    struct net_options o = golden_net_options(c, &in);
    o.input_gradient = false;
    t.net = golden_net_start(c, t.layers, t.spec.n_layers, &o);
    if (t.net != NULL) train(&t);
    net_destroy(t.net);
}
