/* golden_blocks: golden cases of blocks and of whole residual networks: each as the spec that a
 * user would write, parsed, built and run; networks through the trainer's own update
 * (check_golden.h). One thread. */
#include "common/mem.h"
#include "worker/train/golden_case.h"
#include "worker/train/trainer.h"

#include <stdarg.h>
#include <string.h>

#define SPEC_TEXT_MAX 8192
#define BATCH_MAX 64
#define BLOCK_PREFIX "block." /* "block.conv1.weight" is "conv1.weight" in the files */

/* ---- the spec -------------------------------------------------------------------------------- */
struct text {
    char data[SPEC_TEXT_MAX];
    size_t length;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const size_t left = sizeof t->data - t->length;
    const int n = vsnprintf(t->data + t->length, left, fmt, args);
    va_end(args);
    t->length += n > 0 && (size_t)n < left ? (size_t)n : 0;
}

/* The connection as the spec calls it, from the case's own words. */
static const char *connect_of(const struct golden_case *c)
{
    static const struct {
        const char *golden, *connect;
    } names[] = {
        { "identity+out", "add" },         { "identity*out", "and" },
        { "identity*(1-out)", "iand" },    { "out*(1-identity)", "iand_swapped" },
        { "ADD", "add" },                  { "AND", "and" },
    };
    const char *cnf = json_get_string(c->hp, "cnf", "ADD");
    const char *said = json_get_string(c->hp, "connect", cnf);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].golden, said) == 0) return names[i].connect;
    /* A network only says IAND: the release swaps it in bottlenecks. */
    return strcmp(json_get_string(c->hp, "block", ""), "basic") == 0 ? "iand" : "iand_swapped";
}

static void add_block(struct text *t, const struct golden_case *c, const char *name,
                      int64_t channels, int64_t stride, const char *downsample)
{
    const bool sew = strncmp(c->op, "sew", 3) == 0;
    add(t, "{\"type\":\"%s_block\",\"style\":\"%s\",\"out_channels\":%lld,\"stride\":%lld,"
           "\"downsample\":\"%s\"",
        sew ? "sew" : "spiking", json_get_string(c->hp, "block", ""), (long long)channels,
        (long long)stride, downsample);
    if (name != NULL) add(t, ",\"name\":\"%s\"", name);
    if (sew) add(t, ",\"connect\":\"%s\"", connect_of(c));
    add(t, "}");
}

static void add_stages(struct text *t, const struct golden_case *c)
{
    for (int stage = 0; stage < 4; stage++) {
        const cJSON *planes = cJSON_GetArrayItem(json_get(c->hp, "planes"), stage);
        const cJSON *blocks = cJSON_GetArrayItem(json_get(c->hp, "blocks"), stage);
        if (!cJSON_IsNumber(planes) || !cJSON_IsNumber(blocks)) return;
        add(t, ",{\"type\":\"sequential\",\"name\":\"layer%d\",\"body\":[", stage + 1);
        for (int i = 0; i < (int)blocks->valuedouble; i++) {
            if (i > 0) add(t, ",");
            add_block(t, c, NULL, (int64_t)planes->valuedouble, stage > 0 && i == 0 ? 2 : 1,
                      "auto");
        }
        add(t, "]}");
    }
}

static void add_network(struct text *t, const struct golden_case *c)
{
    add(t,
        "{\"type\":\"conv2d\",\"name\":\"conv1\",\"out_channels\":%lld,\"kernel_size\":7,"
        "\"stride\":2,\"padding\":3,\"bias\":false},{\"type\":\"batch_norm\",\"name\":\"bn1\"},"
        "{\"type\":\"neuron\",\"name\":\"sn1\"},{\"type\":\"max_pool2d\",\"name\":\"maxpool\","
        "\"kernel_size\":3,\"stride\":2,\"padding\":1}",
        (long long)json_get_int(c->hp, "stem", 0));
    add_stages(t, c);
    add(t,
        ",{\"type\":\"adaptive_avg_pool2d\",\"name\":\"avgpool\",\"output_size\":1},"
        "{\"type\":\"flatten\"},{\"type\":\"linear\",\"name\":\"fc\",\"out_features\":%lld}",
        (long long)json_get_int(c->hp, "num_classes", 0));
}

/* Parses the layers and gives every neuron the case's parameters. */
static bool parse(struct golden_case *c, const struct text *layers, struct spec *out)
{
    struct json_faults faults;
    struct err e = { 0 };
    struct spec_neuron neuron;
    if (!golden_neuron_spec(c, json_get_string(c->hp, "neuron", ""), &neuron)) return false;
    char *text = mem_printf("{\"version\":1,\"dataset\":{\"name\":\"golden\"},\"monitors\":[],"
                            "\"train\":{\"loss\":{\"type\":\"cross_entropy\"},\"optimizer\":"
                            "{\"type\":\"sgd\"}},\"network\":{\"layers\":[%s]}}", layers->data);
    if (text == NULL) {
        golden_fail(c, "", "out of memory");
        return false;
    }
    const int rc = spec_parse_text(text, strlen(text), out, &faults, &e);
    mem_free(text);
    if (rc != 0) {
        golden_fail(c, "", "%s: %s %s", e.text, faults.count > 0 ? faults.items[0].pointer : "",
                    faults.count > 0 ? faults.items[0].detail : "");
        return false;
    }
    for (size_t i = 0; i < out->n_layers; i++)
        if (out->layers[i].type == SPEC_NEURON) out->layers[i].u.neuron = neuron;
    return true;
}

/* ---- running --------------------------------------------------------------------------------- */
enum input_as { AS_FLOATS, AS_BITS, AS_REPEAT };

static struct net *build(struct golden_case *c, const struct spec *s, struct golden_dims d,
                         enum input_as as)
{
    const struct net_input in = { .b = d.n, .t = d.t, .c = d.c, .h = d.h, .w = d.w,
                                  .bits = as == AS_BITS, .repeat = as == AS_REPEAT };
    const struct net_options o = golden_net_options(c, &in);
    struct net *n = golden_net_start(c, s->layers, s->n_layers, &o);
    if (n == NULL) return NULL;
    const struct tensor_desc *xd;
    void *x = net_input_data(n, &xd);
    golden_put_tensor(xd, x, golden_data(c, "in.x")); /* of a repeated frame the first step */
    golden_put_params(c, n, BLOCK_PREFIX, true);
    return n;
}

static void run_block(struct golden_case *c, struct net *n)
{
    const struct tensor_desc *d;
    (void)net_input_data(n, &d);
    const struct net_step step = { .samples = d->b,
                                   .training = json_get_bool(c->hp, "bn_train", true) };
    golden_forward(c, n, &step, NULL);
    const void *y = net_output(n, &d);
    golden_compare_tensor(c, "out.y", d, y);
    if (!golden_streams(c)) golden_backward(c, n, &step);
    golden_compare_gradients(c, n, BLOCK_PREFIX);
}
/* Mean of the output over time, [N][C]. */
static void compare_mean(struct golden_case *c, const struct net *n)
{
    const struct tensor_desc *d;
    const void *y = net_output(n, &d);
    float *mean = mem_calloc(d->b * d->c, sizeof mean[0]);
    if (mean == NULL) {
        golden_fail(c, "out.mean", "out of memory");
        return;
    }
    for (size_t i = 0; i < d->b * d->c; i++) {
        double sum = 0.0;
        for (size_t t = 0; t < d->t; t++)
            sum += (double)tensor_get(d, y, i / d->c, t, i % d->c, 0, 0);
        mean[i] = (float)(sum / (double)d->t);
    }
    golden_compare(c, "out.mean", mean, d->b * d->c);
    mem_free(mean);
}

static void run_network(struct golden_case *c, struct net *n, const struct spec *s)
{
    struct err e = { 0 };
    const struct tensor_desc *d;
    uint32_t labels[BATCH_MAX];
    const float *target = golden_data(c, "in.target");
    (void)net_input_data(n, &d);
    const size_t samples = d->b;
    if (target == NULL || samples > BATCH_MAX) {
        golden_fail(c, "in.target", "missing, or too many samples");
        return;
    }
    for (size_t b = 0; b < samples; b++) labels[b] = (uint32_t)target[b];
    struct trainer trainer = { .spec = s, .net = n, .labels = labels };
    struct loss_result r = { 0 };
    size_t floats;
    (void)net_weights(n, &floats);
    if (optimizer_init(&trainer.optimizer, &s->train.optimizer, floats, &e) != 0 ||
        trainer_update(&trainer, samples, &r, &e) != 0)
        golden_fail(c, "", "%s", e.text);
    const float loss = (float)r.loss;
    golden_compare(c, "out.loss", &loss, 1);
    compare_mean(c, n);
    const float *dx = net_input_gradient(n, &d);
    if (d->kind != TENSOR_REPEAT) golden_compare_tensor(c, "grad.x", d, dx);
    golden_compare_gradients(c, n, BLOCK_PREFIX);
    optimizer_deinit(&trainer.optimizer);
}

static void run_as(struct golden_case *c, const struct spec *s, enum input_as as)
{
    static const char *const variants[] = { NULL, "bits", "a repeated frame" };
    c->variant = variants[as];
    struct net *n = build(c, s, golden_dims_of(golden_tensor(c, "in.x")), as);
    const size_t before = c->compared;
    if (n != NULL && strcmp(c->family, "block") == 0) run_block(c, n);
    else if (n != NULL) run_network(c, n, s);
    net_destroy(n);
    if (n != NULL) golden_check_compared(c, before, as == AS_REPEAT);
    c->variant = NULL;
}

static void run_text(struct golden_case *c, const struct text *t)
{
    const struct safetensors_entry *x = golden_tensor(c, "in.x");
    struct spec s = { 0 };
    if (x == NULL || x->n_dims != 5) {
        golden_fail(c, "in.x", "missing");
        return;
    }
    if (!parse(c, t, &s)) return;
    run_as(c, &s, AS_FLOATS);
    if (golden_only_spikes(x)) run_as(c, &s, AS_BITS);
    if (strncmp(json_get_string(c->hp, "input", ""), "static", 6) == 0) run_as(c, &s, AS_REPEAT);
    spec_deinit(&s);
}

void golden_run_block(struct golden_case *c)
{
    struct text t = { .length = 0 };
    if (golden_streams(c) && json_get_bool(c->hp, "bn_train", true)) {
        golden_refuse(c, "batch statistics of a training pass");
        return;
    }
    if (golden_data(c, "up.y") == NULL) {
        golden_fail(c, "up.y", "missing");
        return;
    }
    add_block(&t, c, "block", json_get_int(c->hp, "planes", 0), json_get_int(c->hp, "stride", 1),
              json_get_bool(c->hp, "downsample", false) ? "yes" : "no");
    run_text(c, &t);
}

void golden_run_net(struct golden_case *c)
{
    struct text t = { .length = 0 };
    add_network(&t, c);
    run_text(c, &t);
}
