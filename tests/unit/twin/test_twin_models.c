/* Every neuron model with every surrogate and reset behind a batch norm: the engine against the
 * double twin. `make prove` takes both numerics and every number of threads. */
#include "tests/unit/twin/twin_fixture.h"

#include <string.h>

/* STRIDE: from model to model, odd so that a model meets every option; a new surrogate moves the
 * numbers of no other. */
enum { TEXT = 600, STRIDE = 17 };

/* Parameters of a model that bring its other terms to bear, by turns. */
static const struct {
    const char *model, *values[3];
} tried[] = {
    { "qif", { "", ",'a0':0.7,'v_rest':-0.1", ",'tau':3,'v_c':0.6" } },
    { "eif", { "", ",'delta_T':0.5,'v_rest':0.1", ",'tau':3,'theta_rh':0.6" } },
    { "izhikevich",
      { ",'a':0.3,'b':0.2", ",'a':-0.2,'b':0.4,'w_rest':0.1", ",'a':0.1,'tau_w':3" } },
    { "klif", { "", ",'scale_reset':true", ",'scale_reset':true,'init_k':0.7" } },
    { "liaf", { ",'act':'relu'", ",'act':'sigmoid'", ",'act':'tanh','threshold_related':false" } },
    { "cuba_lif", { "", ",'c_decay':0.3", ",'v_decay':0.4" } },
    { "alif", { "", ",'beta':0.5,'tau_adaptation':3", ",'beta':0.1" } },
};

static size_t own_values(const struct spec_neuron_model *m, size_t i, char out[static TEXT])
{
    out[0] = '\0';
    for (size_t k = 0; k < sizeof tried / sizeof tried[0]; k++)
        if (strcmp(tried[k].model, m->name) == 0)
            return (size_t)snprintf(out, TEXT, "%s", tried[k].values[i % 3]);
    return 0;
}

/* Fields that the model has, different from case to case. */
static void options(const struct spec_neuron_model *m, bool soft, size_t i, char out[static TEXT])
{
    static const char *const scopes[] = { "layer", "channel", "neuron" };
    const bool leak = (m->traits & SPEC_LEAK) != 0, decay = !leak || i / 2 % 2 == 0;
    out[0] = '\0';
    if (!m->serial) {
        if (strcmp(m->name, "psn") != 0) (void)snprintf(out, TEXT, ",'k':%zu", 1 + i % 4);
        return;
    }
    if ((m->traits & SPEC_SILENT) != 0) {
        (void)snprintf(out, TEXT, ",'decay_input':%s%s", decay ? "true" : "false",
                       m->n_params > 1 ? ",'v_rest':0.1" : "");
        return;
    }
    if ((m->traits & SPEC_SERIAL) == 0) {
        (void)snprintf(out, TEXT, ",'scope':'%s'", scopes[i / 3 % 3]);
        return;
    }
    size_t n = own_values(m, i / 2, out);
    n += (size_t)snprintf(out + n, TEXT - n, ",'v_reset':%s,'detach_reset':%s,'decay_input':%s",
                          soft ? "null" : "0.1", i % 2 == 0 ? "true" : "false",
                          decay ? "true" : "false");
    const bool learns = i % 3 == 0;
    if (learns) n += (size_t)snprintf(out + n, TEXT - n, ",'learn_threshold':true");
    if (i % 5 == 0) n += (size_t)snprintf(out + n, TEXT - n, ",'refractory_steps':1");
    if (i % 4 == 1)
        n += (size_t)snprintf(out + n, TEXT - n, ",'v_init':%s", i % 8 == 1 ? "0.35" : "-0.2");
    if (learns || (m->traits & SPEC_LEARNS(15)) != 0)
        (void)snprintf(out + n, TEXT - n, ",'scope':'%s'", scopes[i / 3 % 3]);
}

static void each(void (*fn)(const struct twin_case *c, const struct engine_plan *plan),
                 size_t every)
{
    static const struct engine_plan plan = { .margin = 1e-4, .tolerance = 5e-6, .brief = true };
    size_t models, surrogates;
    const struct spec_neuron_model *m = spec_neuron_models(&models);
    const struct spec_surrogate_kind *g = spec_surrogate_kinds(&surrogates);
    cr_assert(models >= 16 && surrogates >= 19);
    for (size_t i = 0; i < models * surrogates * 2; i++) {
        const size_t model = i / 2 / surrogates, kind = i / 2 % surrogates;
        char own[TEXT], surrogate[TEXT] = "", network[3 * TEXT];
        const bool soft = i % 2 == 1;
        if (i % every != 0 || !twin_pairs(model, kind, soft)) continue;
        const size_t variant = model * STRIDE + kind, seed = 2 * variant + soft;
        options(&m[model], soft, variant, own);
        if ((m[model].traits & SPEC_SILENT) == 0)
            (void)snprintf(surrogate, TEXT, ",'surrogate':{'type':'%s'}", g[kind].name);
        (void)snprintf(network, sizeof network,
                       "'layers':[{'type':'batch_norm'},{'type':'neuron','model':'%s'%s%s}]",
                       m[model].name, surrogate, own);
        const struct twin_case c = {
            .name = network, .network = network, .in = { 5, 2, 1 + seed % 20, 2, 3 }, .seed = seed
        };
        fn(&c, &plan);
    }
}

/* Goal: spikes and gradients of every model with every surrogate and reset are those of the
 * twin. */
Test(twin_models, engine, .timeout = 600)
{
    each(check_engine, 1);
}

/* Goal: a wrong sign of any gradient of any model is seen. */
Test(twin_models, wrong_signs_are_seen, .timeout = 60)
{
    each(check_signs, 17);
}
