/* golden_net: the network of a golden case: built under the options of the run, its parameters from
 * the case and back, its forward pass over all time-steps or as a stream of them. One thread. */
#include "common/mem.h"
#include "worker/layers/layer.h"
#include "worker/train/golden_case.h"

#include <string.h>

bool golden_streams(const struct golden_case *c) { return c->options->stream_steps > 0; }

struct net_options golden_net_options(const struct golden_case *c, const struct net_input *input)
{
    struct net_options o = {
        .input = *input, .training = !golden_streams(c), .shards = 1,
        .threads = c->options->threads, .isa = c->options->isa,
        .span_steps = c->options->span_steps, .path = c->options->path, .trace = c->trace,
    };
    o.input_gradient = o.training;
    if (!golden_streams(c)) return o;
    o.stream_steps = input->t;
    if (c->options->stream_steps < input->t) o.input.t = c->options->stream_steps;
    return o;
}

struct net *golden_net_start(struct golden_case *c, const struct spec_layer *layers,
                             size_t n_layers, const struct net_options *o)
{
    struct err e = { 0 };
    struct net *n = NULL;
    if (net_build(&n, layers, n_layers, 0, o, &e) != 0 || net_start(n, &e) != 0)
        golden_fail(c, "", "%s", e.text);
    else if (golden_streams(c) && net_stream_check(n, &e) != 0) golden_refuse(c, e.text);
    else return n;
    net_destroy(n);
    return NULL;
}

/* ---- parameters ------------------------------------------------------------------------------ */
/* "conv1.weight" of the files for "block.conv1.weight" of the net and the prefix "block.". */
static const char *name_in_files(const struct net_param *p, const char *prefix)
{
    const size_t n = strlen(prefix);
    return strncmp(p->name, prefix, n) == 0 ? p->name + n : p->name;
}

static void role_of(char role[NET_PARAM_NAME_MAX + 16], const struct net_param *p,
                    const char *prefix, const char *weights, const char *buffers)
{
    (void)snprintf(role, NET_PARAM_NAME_MAX + 16, "%s.%s",
                   p->role == NET_BUFFER ? buffers : weights, name_in_files(p, prefix));
}

void golden_put_params(struct golden_case *c, struct net *n, const char *prefix, bool all)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        char role[NET_PARAM_NAME_MAX + 16];
        role_of(role, p, prefix, "par", "buf");
        const struct safetensors_entry *t = golden_tensor(c, role);
        if (t == NULL && !all) continue;
        if (t == NULL || t->elements != p->logical)
            golden_fail(c, role, "%zu values, not %zu", t == NULL ? 0 : t->elements, p->logical);
        else net_param_write(n, i, t->data);
    }
}

/* Weights under the name `weights`, or gradients of them, and running statistics. A stream has no
 * gradients. */
static void compare_params(struct golden_case *c, const struct net *n, const char *prefix,
                           const char *weights, bool gradients)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (p->role == NET_WEIGHT && gradients && golden_streams(c)) continue;
        char role[NET_PARAM_NAME_MAX + 16];
        role_of(role, p, prefix, weights, "bufout");
        float *values = mem_calloc(p->logical, sizeof values[0]);
        if (values == NULL) {
            golden_fail(c, role, "out of memory");
            return;
        }
        if (p->role == NET_BUFFER || !gradients) net_param_read(n, i, values);
        else net_gradient_read(n, i, values);
        golden_compare(c, role, values, p->logical);
        mem_free(values);
    }
}

void golden_compare_weights(struct golden_case *c, const struct net *n, const char *prefix)
{
    compare_params(c, n, prefix, "out.par", false);
}

void golden_compare_gradients(struct golden_case *c, const struct net *n, const char *prefix)
{
    compare_params(c, n, prefix, "grad", true);
}

/* ---- a pass ---------------------------------------------------------------------------------- */
/* The trace of the steps that a chunk begins with. */
static void move_on(struct tensor_view *trace, size_t steps)
{
    if (trace->data == NULL) return;
    trace->data = (unsigned char *)trace->data +
                  steps * trace->desc.time * tensor_element_bytes(trace->desc.kind);
}

static void stream(const struct golden_case *c, struct net *n, const struct net_step *s,
                   const struct step_probe *probe)
{
    struct step_probe chunk = *probe;
    struct tensor_view *traces[] = { &chunk.u, &chunk.v, &chunk.w, &chunk.spikes };
    net_set_probe(n, 0, &chunk);
    net_stream_begin(n);
    while (net_stream_step(n, s))
        for (size_t i = 0; i < sizeof traces / sizeof traces[0]; i++)
            move_on(traces[i], c->options->stream_steps);
    net_set_probe(n, 0, NULL);
}

void golden_forward(const struct golden_case *c, struct net *n, const struct net_step *s,
                    const struct step_probe *probe)
{
    static const struct step_probe none;
    if (golden_streams(c)) {
        stream(c, n, s, probe != NULL ? probe : &none);
        return;
    }
    net_set_probe(n, 0, probe);
    net_forward(n, s);
}

void golden_backward(struct golden_case *c, struct net *n, const struct net_step *s)
{
    const struct tensor_desc *d;
    float *dy = net_output_gradient(n, &d);
    golden_put_tensor(d, dy, golden_data(c, "up.y"));
    net_backward(n, s);
    const float *dx = net_input_gradient(n, &d);
    golden_compare_tensor(c, "grad.x", d, dx);
}

void golden_check_compared(struct golden_case *c, size_t before, size_t absent)
{
    const cJSON *one;
    size_t wanted = 0;
    cJSON_ArrayForEach(one, c->expected)
        wanted += !golden_streams(c) || strncmp(one->string, "grad.", 5) != 0;
    if (c->failures == 0 && c->compared - before != wanted - absent)
        golden_fail(c, "", "%zu of %zu tensors were computed", c->compared - before,
                    wanted - absent);
}
