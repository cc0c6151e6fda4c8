/* golden_layers: golden cases of surrogates, neurons and layers, each as a one-layer net through
 * net_forward and net_backward (check_golden.h). One thread. */
#include "common/mem.h"
#include "worker/layers/layer.h"
#include "worker/neurons/reference_neurons.h"
#include "worker/train/golden_case.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- specs ----------------------------------------------------------------------------------- */
/* Golden names of models and the engine's. */
static const struct {
    const char *golden, *model;
} model_names[] = {
    { "IF", "if" }, { "LIF", "lif" }, { "PLIF", "plif" }, { "PSN", "psn" },
    { "QIF", "qif" }, { "EIF", "eif" }, { "Izhikevich", "izhikevich" }, { "KLIF", "klif" },
    { "LIAF", "liaf" }, { "GatedLIF", "gated_lif" }, { "MaskedPSN", "masked_psn" },
    { "SlidingPSN", "sliding_psn" },
};

/* piecewise_leaky_relu's slope inside is given in words. */
static double surrogate_param(const cJSON *hp, const struct spec_param *p)
{
    if (strcmp(p->name, "inner") == 0)
        return strcmp(json_get_string(hp, "inner_slope", ""), "1/w") == 0 ? 1.0 : 0.5;
    return json_get_number(hp, p->name, p->fallback);
}

static bool surrogate_spec(struct golden_case *c, struct spec_surrogate *out)
{
    const cJSON *hp = json_get(c->hp, "surrogate");
    const char *name = json_get_string(hp, "name", "");
    size_t count;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    for (size_t k = 0; k < count; k++) {
        if (strcmp(kinds[k].name, name) != 0) continue;
        out->kind = (int)k;
        for (size_t i = 0; i < kinds[k].n_params; i++)
            out->params[i] = surrogate_param(hp, &kinds[k].params[i]);
        return true;
    }
    golden_fail(c, "", "no op surrogate %s", name);
    return false;
}

static bool model_index(const char *name, int *out)
{
    size_t count;
    const struct spec_neuron_model *models = spec_neuron_models(&count);
    for (size_t i = 0; i < sizeof model_names / sizeof model_names[0]; i++) {
        if (strcmp(model_names[i].golden, name) != 0) continue;
        for (size_t k = 0; k < count; k++)
            if (strcmp(models[k].name, model_names[i].model) == 0) {
                *out = (int)k;
                return true;
            }
    }
    return false;
}

static double model_param(const cJSON *hp, const struct spec_param *p, double fallback)
{
    if (p->kind == SPEC_PARAM_FLAG) return json_get_bool(hp, p->name, fallback != 0);
    if (p->kind != SPEC_PARAM_CHOICE) return json_get_number(hp, p->name, fallback);
    const char *wanted = json_get_string(hp, p->name, "");
    const size_t length = strlen(wanted);
    double index = 0;
    for (const char *at = p->choices; at != NULL; index++) {
        if (strncmp(at, wanted, length) == 0 && (at[length] == '|' || at[length] == '\0'))
            return index;
        at = strchr(at, '|');
        if (at != NULL) at++;
    }
    return fallback;
}

bool golden_neuron_spec(struct golden_case *c, const char *name, struct spec_neuron *out)
{
    struct spec_neuron n = { .v_threshold = json_get_number(c->hp, "v_threshold", 1.0),
                             .v_reset = json_get_number(c->hp, "v_reset", 0.0),
                             .soft_reset = cJSON_IsNull(json_get(c->hp, "v_reset")),
                             .detach_reset = json_get_bool(c->hp, "detach_reset", false),
                             .decay_input = json_get_bool(c->hp, "decay_input", true) };
    if (cJSON_IsNumber(json_get(c->hp, "inplane"))) n.scope = SPEC_SCOPE_CHANNEL;
    if (!model_index(name, &n.model)) {
        golden_fail(c, "", "no op %s", name);
        return false;
    }
    if (!surrogate_spec(c, &n.surrogate)) return false;
    size_t count;
    const struct spec_neuron_model *m = &spec_neuron_models(&count)[n.model];
    for (size_t i = 0; i < m->n_params; i++) {
        const struct spec_param *p = &m->params[i];
        double fallback = p->fallback;
        if (strcmp(p->name, "tau") == 0) /* trajectories give every model init_tau */
            fallback = json_get_number(c->hp, "init_tau", fallback);
        n.params[i] = model_param(c->hp, p, fallback);
    }
    *out = n;
    return true;
}

/* A number, or [height, width]. */
static void pair_of(const struct golden_case *c, const char *name, int64_t fallback, int64_t out[2])
{
    const cJSON *v = json_get(c->hp, name);
    for (int i = 0; i < 2; i++) {
        const cJSON *one = cJSON_IsArray(v) ? cJSON_GetArrayItem(v, i) : v;
        out[i] = cJSON_IsNumber(one) ? (int64_t)one->valuedouble : fallback;
    }
}

static bool spec_conv(struct golden_case *c, struct spec_layer *l)
{
    struct spec_conv2d *p = &l->u.conv2d;
    p->out_channels = json_get_int(c->hp, "out_channels", 0);
    p->groups = json_get_int(c->hp, "groups", 1);
    p->bias = json_get_bool(c->hp, "bias", false);
    pair_of(c, "kernel_size", 1, p->kernel_size);
    pair_of(c, "stride", 1, p->stride);
    pair_of(c, "padding", 0, p->padding);
    pair_of(c, "dilation", 1, p->dilation);
    return true;
}

static bool spec_dense(struct golden_case *c, struct spec_layer *l)
{
    l->u.linear.out_features = json_get_int(c->hp, "out_features", 0);
    l->u.linear.bias = json_get_bool(c->hp, "bias", false);
    return true;
}

static bool spec_norm(struct golden_case *c, struct spec_layer *l)
{
    l->u.batch_norm.eps = json_get_number(c->hp, "eps", 1e-5);
    l->u.batch_norm.momentum = json_get_number(c->hp, "momentum", 0.1);
    return true;
}

static bool spec_pool(struct golden_case *c, struct spec_layer *l)
{
    struct spec_pool2d *p = &l->u.pool;
    pair_of(c, "dilation", 1, p->dilation);
    pair_of(c, "kernel_size", 1, p->kernel_size);
    pair_of(c, "stride", 0, p->stride);
    pair_of(c, "padding", 0, p->padding);
    p->ceil_mode = json_get_bool(c->hp, "ceil_mode", false);
    p->count_include_pad = json_get_bool(c->hp, "count_include_pad", true);
    return true;
}

static bool spec_adaptive(struct golden_case *c, struct spec_layer *l)
{
    pair_of(c, "output_size", 1, l->u.adaptive.output_size);
    return true;
}

static bool spec_drop(struct golden_case *c, struct spec_layer *l)
{
    l->u.dropout.p = json_get_number(c->hp, "p", 0.5);
    return true;
}

static bool spec_vote(struct golden_case *c, struct spec_layer *l)
{
    l->u.voting.size = json_get_int(c->hp, "voting_size", 1);
    return true;
}

static bool spec_none(struct golden_case *c, struct spec_layer *l)
{
    (void)c;
    (void)l;
    return true;
}

static const struct {
    const char *op;
    enum spec_layer_type type;
    bool (*fill)(struct golden_case *c, struct spec_layer *l);
} layer_ops_table[] = {
    { "conv2d", SPEC_CONV2D, spec_conv },        { "linear", SPEC_LINEAR, spec_dense },
    { "batchnorm1d", SPEC_BATCH_NORM, spec_norm }, { "batchnorm2d", SPEC_BATCH_NORM, spec_norm },
    { "maxpool2d", SPEC_MAX_POOL2D, spec_pool }, { "avgpool2d", SPEC_AVG_POOL2D, spec_pool },
    { "adaptive_avgpool2d", SPEC_ADAPTIVE_AVG_POOL2D, spec_adaptive },
    { "dropout", SPEC_DROPOUT, spec_drop },      { "dropout_mask", SPEC_DROPOUT, spec_drop },
    { "flatten", SPEC_FLATTEN, spec_none },      { "voting", SPEC_VOTING, spec_vote },
};

/* The last step of a trace. */
static void compare_last(struct golden_case *c, const char *role, const struct tensor_view *trace)
{
    if (!golden_expects(c, role) || trace->data == NULL) return;
    struct tensor_desc d = trace->desc;
    const size_t last = (d.t - 1) * d.time;
    d.t = d.t_stored = 1;
    golden_compare_tensor(c, role, &d, (const float *)trace->data + last);
}

/* ---- probes: traces and states that only these cases ask for --------------------------------- */
static bool probe_view(struct tensor_view *v, struct golden_dims d, size_t t, const float *values)
{
    v->desc = tensor_make(TENSOR_F32, d.n, t, d.c, d.h, d.w);
    v->data = mem_calloc(v->desc.elements, sizeof(float));
    if (v->data != NULL && values != NULL) golden_put_tensor(&v->desc, v->data, values);
    return v->data != NULL;
}

static bool probe_neuron(struct golden_case *c, struct golden_dims d, struct step_probe *p)
{
    bool ok = probe_view(&p->u, d, d.t, NULL) && probe_view(&p->v, d, d.t, NULL) &&
              probe_view(&p->w, d, d.t, NULL);
    const float *v0 = golden_data(c, "in.v0"), *w0 = golden_data(c, "in.w0");
    const float *dv = golden_data(c, "up.v_seq");
    if (v0 != NULL) ok = ok && probe_view(&p->v0, d, 1, v0) && probe_view(&p->dv0, d, 1, NULL);
    if (w0 != NULL) ok = ok && probe_view(&p->w0, d, 1, w0) && probe_view(&p->dw0, d, 1, NULL);
    if (golden_expects(c, "out.spike")) {
        p->spikes.desc = tensor_make(TENSOR_BITS, d.n, d.t, d.c, d.h, d.w);
        p->spikes.data = mem_calloc(p->spikes.desc.elements, sizeof(uint64_t));
        ok = ok && p->spikes.data != NULL;
    }
    if (dv != NULL) ok = ok && probe_view(&p->dv, d, d.t, dv);
    return ok;
}

/* in.keep [N, C, H, W] as the words of a mask. */
static bool probe_keep(struct golden_case *c, struct golden_dims d, struct step_probe *p)
{
    const float *keep = golden_data(c, "in.keep");
    const size_t words = (d.c + 63) / 64;
    uint64_t *mask = mem_calloc(d.n * d.h * d.w * words, sizeof mask[0]);
    if (keep == NULL || mask == NULL) {
        mem_free(mask);
        return false;
    }
    for (size_t b = 0; b < d.n; b++)
        for (size_t i = 0; i < d.c; i++)
            for (size_t yx = 0; yx < d.h * d.w; yx++)
                if (keep[(b * d.c + i) * d.h * d.w + yx] != 0.0f)
                    mask[(b * d.h * d.w + yx) * words + i / 64] |= UINT64_C(1) << (i % 64);
    p->keep = mask;
    return true;
}

static void probe_free(struct step_probe *p)
{
    struct tensor_view *views[] = { &p->v0, &p->w0, &p->u,   &p->v,     &p->w,
                                    &p->dv, &p->dv0, &p->dw0, &p->spikes };
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) mem_free(views[i]->data);
    mem_free((uint64_t *)(uintptr_t)p->keep);
}

/* ---- one layer as a net ---------------------------------------------------------------------- */
static void compare_masked_weight(struct golden_case *c, const struct net *n, size_t t)
{
    if (!golden_expects(c, "out.masked_weight")) return;
    struct err e = { 0 };
    float *w = mem_calloc(t * t, sizeof w[0]);
    if (w == NULL || net_psn_weight(n, 0, w, &e) != 0)
        golden_fail(c, "out.masked_weight", "%s", w == NULL ? "out of memory" : e.text);
    else golden_compare(c, "out.masked_weight", w, t * t);
    mem_free(w);
}

static void run_net(struct golden_case *c, struct net *n, const struct step_probe *probe,
                    bool train)
{
    const struct tensor_desc *d;
    void *x = net_input_data(n, &d);
    golden_put_tensor(d, x, golden_data(c, "in.x"));
    golden_put_params(c, n, "0.", false); /* batch norm without affine: 1 and 0 */
    const struct net_step step = { .samples = d->b, .training = train && !golden_streams(c) };
    golden_forward(c, n, &step, probe);
    const void *y = net_output(n, &d);
    golden_compare_tensor(c, "out.y", d, y);
    compare_masked_weight(c, n, d->t);
    if (!golden_streams(c)) golden_backward(c, n, &step);
    golden_compare_gradients(c, n, "0.");
    golden_compare_tensor(c, "out.u_seq", &probe->u.desc, probe->u.data);
    golden_compare_tensor(c, "out.h_seq", &probe->u.desc, probe->u.data);
    golden_compare_tensor(c, "out.v_seq", &probe->v.desc, probe->v.data);
    golden_compare_tensor(c, "out.spike", &probe->spikes.desc, probe->spikes.data);
    compare_last(c, "out.v_last", &probe->v);
    compare_last(c, "out.w_last", &probe->w);
    if (golden_streams(c)) return;
    golden_compare_tensor(c, "grad.v0", &probe->dv0.desc, probe->dv0.data);
    golden_compare_tensor(c, "grad.w0", &probe->dw0.desc, probe->dw0.data);
}

static void run_layer(struct golden_case *c, const struct spec_layer *l, struct golden_dims d,
                      bool bits, const struct step_probe *probe)
{
    const struct net_input in = { .b = d.n, .t = d.t, .c = d.c, .h = d.h, .w = d.w,
                                  .bits = bits };
    const struct net_options o = golden_net_options(c, &in);
    const size_t before = c->compared;
    c->variant = bits ? "bits" : NULL;
    struct net *n = golden_net_start(c, l, 1, &o);
    if (n != NULL) {
        run_net(c, n, probe, json_get_bool(c->hp, "train", true));
        golden_check_compared(c, before, golden_expects(c, "out.primitive"));
    }
    net_destroy(n);
    c->variant = NULL;
}

/* Batch norm and dropout of a training pass are none of a stream. */
static bool evaluates(struct golden_case *c, const struct spec_layer *l)
{
    if (l->type != SPEC_BATCH_NORM && l->type != SPEC_DROPOUT) return true;
    if (!golden_streams(c) || !json_get_bool(c->hp, "train", true)) return true;
    golden_refuse(c, l->type == SPEC_DROPOUT ? "dropout of a training pass"
                                             : "batch statistics of a training pass");
    return false;
}

/* Inputs that are spikes run twice: as floats and as bits. */
static void run_one_layer(struct golden_case *c, struct spec_layer *l)
{
    const struct safetensors_entry *x = golden_tensor(c, "in.x");
    if (x == NULL || golden_data(c, "up.y") == NULL) {
        golden_fail(c, "", "no in.x or up.y");
        return;
    }
    const struct golden_dims d = golden_dims_of(x);
    struct step_probe probe = { 0 };
    bool ok = true;
    (void)snprintf(l->path, sizeof l->path, "0");
    if (!evaluates(c, l)) return;
    if (l->type == SPEC_NEURON) ok = probe_neuron(c, d, &probe);
    if (strcmp(c->op, "dropout_mask") == 0) ok = probe_keep(c, d, &probe);
    if (!ok) golden_fail(c, "", "no mask, or out of memory");
    else {
        run_layer(c, l, d, false, &probe);
        if (golden_only_spikes(x)) run_layer(c, l, d, true, &probe);
    }
    probe_free(&probe);
}

/* ---- the families ---------------------------------------------------------------------------- */
void golden_run_neuron(struct golden_case *c)
{
    struct spec_layer l = { .type = SPEC_NEURON };
    if (golden_neuron_spec(c, c->op, &l.u.neuron)) run_one_layer(c, &l);
}

void golden_run_layer(struct golden_case *c)
{
    for (size_t i = 0; i < sizeof layer_ops_table / sizeof layer_ops_table[0]; i++) {
        if (strcmp(layer_ops_table[i].op, c->op) != 0) continue;
        struct spec_layer l = { .type = layer_ops_table[i].type };
        if (layer_ops_table[i].fill(c, &l)) run_one_layer(c, &l);
        return;
    }
    golden_fail(c, "", "no op %s", c->op);
}

static void compare_primitive(struct golden_case *c, const struct spec_surrogate *s)
{
    const struct safetensors_entry *x = golden_tensor(c, "in.x");
    float *values = mem_calloc(x->elements, sizeof values[0]);
    if (values == NULL) {
        golden_fail(c, "out.primitive", "out of memory");
        return;
    }
    for (size_t i = 0; i < x->elements; i++)
        values[i] = (float)reference_primitive(s, (double)((const float *)x->data)[i]);
    golden_compare(c, "out.primitive", values, x->elements);
    mem_free(values);
}

/* One step of an IF neuron with threshold 0: s = [x >= 0], dx = dy g(x); of counts, which are of
 * h / threshold, with threshold 1. */
void golden_run_surrogate(struct golden_case *c)
{
    struct spec_layer l = { .type = SPEC_NEURON };
    l.u.neuron.detach_reset = true;
    if (!model_index("IF", &l.u.neuron.model) || !surrogate_spec(c, &l.u.neuron.surrogate)) return;
    if (reference_fires_counts(&l.u.neuron.surrogate))
        l.u.neuron.v_threshold = l.u.neuron.soft_reset = 1;
    const struct safetensors_entry *x = golden_tensor(c, "in.x");
    if (x == NULL || golden_data(c, "up.y") == NULL) {
        golden_fail(c, "", "no in.x or up.y");
        return;
    }
    const struct golden_dims d = { .t = 1, .n = 1, .c = x->elements, .h = 1, .w = 1 };
    const struct step_probe probe = { 0 };
    (void)snprintf(l.path, sizeof l.path, "0");
    run_layer(c, &l, d, false, &probe);
    if (golden_expects(c, "out.primitive")) compare_primitive(c, &l.u.neuron.surrogate);
}
