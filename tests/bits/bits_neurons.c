/* bits_neurons: every neuron model both ways, and every surrogate with a LIF neuron. See bits.h. */
#include "tests/bits/bits.h"

#include <stdio.h>
#include <string.h>

enum { SAMPLES = 3, CHANNELS = 70, HEIGHT = 2, WIDTH = 3 };

static struct spec_neuron model_of(int model, int surrogate)
{
    size_t count;
    const struct spec_neuron_model *m = &spec_neuron_models(&count)[model];
    const struct spec_surrogate_kind *k = &spec_surrogate_kinds(&count)[surrogate];
    struct spec_neuron s = { .model = model,
                             .v_threshold = 0.3,
                             .detach_reset = true,
                             .decay_input = true,
                             .surrogate.kind = surrogate };
    s.soft_reset = k->firing == SPEC_FIRES_COUNT; /* needs it */
    for (size_t i = 0; i < m->n_params; i++) s.params[i] = m->params[i].fallback;
    for (size_t i = 0; i < k->n_params; i++) s.surrogate.params[i] = k->params[i].fallback;
    return s;
}

/* Another reset, gradients through it, a learned threshold and values of each channel. */
static void variant(struct spec_neuron *s)
{
    size_t count;
    const unsigned traits = spec_neuron_models(&count)[s->model].traits;
    if ((traits & SPEC_SERIAL) != 0) {
        s->soft_reset = s->learn_threshold = true;
        s->detach_reset = false;
        s->refractory_steps = 1;
    }
    s->decay_input = (traits & SPEC_LEAK) == 0;
    if ((traits & SPEC_LEARNS_ANY) != 0 || s->learn_threshold) s->scope = SPEC_SCOPE_CHANNEL;
}

static void take_weights(const struct neuron *n, struct neuron_io *io)
{
    const struct philox_key key = philox_key(7, PHILOX_BENCH);
    for (size_t i = 0; i < n->n_params; i++) {
        float *values = bits_take(n->params[i].values * sizeof values[0]);
        float *packed = bits_take(n->params[i].floats * sizeof packed[0]);
        neuron_init(n, i, key, (uint32_t)i, values);
        neuron_pack(n, i, values, packed);
        io->w[i] = packed;
    }
}

static void print_gradients(const struct neuron *n, const struct neuron_io *io, const double *sums,
                            size_t number)
{
    const struct neuron_run run = neuron_run_make(n, io->w, NULL);
    for (size_t i = 0; i < n->n_params; i++) {
        if (n->params[i].buffer) continue;
        float *dw = bits_take(n->params[i].floats * sizeof dw[0]);
        neuron_gradient(&run, sums, i, dw);
        bits_print(n->params[i].name, number, dw, n->params[i].floats * sizeof dw[0]);
    }
}

static void one(struct bits *b, const struct spec_neuron *spec, size_t t, const char *name,
                size_t number)
{
    size_t count;
    const bool counts = spec_surrogate_kinds(&count)[spec->surrogate.kind].firing ==
                        SPEC_FIRES_COUNT;
    const struct tensor_desc xd = tensor_make(TENSOR_F32, SAMPLES, t, CHANNELS, HEIGHT, WIDTH);
    const struct tensor_desc sd = tensor_make(counts ? TENSOR_COUNT8 : TENSOR_BITS, SAMPLES, t,
                                              CHANNELS, HEIGHT, WIDTH);
    const struct neuron n = neuron_make(spec, &xd, b->isa);
    struct neuron_io io = { .x = bits_filled(xd, number, 0),
                            .ds = bits_filled(xd, number + 9, 0),
                            .dx = bits_tensor(xd) };
    float *x = io.x.data;
    for (size_t i = 0; i < xd.elements; i++) x[i] += 0.5f; /* so that they fire */
    if (n.ops->analog) io.y = bits_tensor(xd);
    else io.spikes = bits_tensor(sd);
    if (n.ops->membrane) io.v = bits_tensor(xd);
    take_weights(&n, &io);
    double *total = bits_take((neuron_sums(&n) + 1) * sizeof total[0]);
    double *partial = bits_take((neuron_group(&n, SAMPLES) * neuron_sums(&n) + 1) *
                                sizeof partial[0]);
    const bool learns = neuron_sums(&n) > 0;
    neuron_forward(&b->kc, &n, &io);
    bits_print_view(name, number, n.ops->analog ? &io.y : &io.spikes);
    if (n.ops->membrane) bits_print_view(name, number, &io.v);
    neuron_backward(&b->kc, &n, &io, (struct span){ 0, SAMPLES }, learns ? total : NULL,
                    learns ? partial : NULL);
    bits_print_view(name, number, &io.dx);
    print_gradients(&n, &io, total, number);
    bits_release();
}

void bits_of_neurons(struct bits *b)
{
    size_t models, surrogates, number = 0;
    const struct spec_neuron_model *m = spec_neuron_models(&models);
    const struct spec_surrogate_kind *k = spec_surrogate_kinds(&surrogates);
    for (size_t i = 0; i < models; i++) {
        struct spec_neuron s = model_of((int)i, 0);
        one(b, &s, 9, m[i].name, number++);
        variant(&s);
        one(b, &s, 20, m[i].name, number++);
    }
    for (size_t i = 0; i < surrogates; i++) {
        size_t lif = 0;
        while (strcmp(m[lif].name, "lif") != 0) lif++;
        const struct spec_neuron s = model_of((int)lif, (int)i);
        one(b, &s, 5, k[i].name, number++);
    }
}
