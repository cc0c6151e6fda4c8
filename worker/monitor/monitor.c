/* monitor: which monitor is due at a step or an epoch, and the series. Records are in
 * monitor_records.c. See monitor.h. */
#include "worker/monitor/monitor.h"

#include "common/mem.h"
#include "worker/monitor/monitor_records.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct monitors {
    const struct spec *spec;
    bool input_said; /* the picture beside the rasters was recorded */
};

int monitors_create(struct monitors **out, const struct spec *spec, struct err *e)
{
    struct monitors *m = mem_calloc(1, sizeof *m);
    if (m == NULL) return err_set(e, ERR_NOMEM, "monitors");
    m->spec = spec;
    *out = m;
    return 0;
}

void monitors_destroy(struct monitors *m) { mem_free(m); }

size_t monitor_pick(size_t i, size_t wanted, size_t total) { return i * total / wanted; }

static bool chosen(const struct spec_monitor *m, const char *path)
{
    for (size_t i = 0; i < m->n_layers; i++)
        if (spec_glob(m->layers[i], path)) return true;
    return m->n_layers == 0;
}

static int layer_point(struct trainer *t, const char *path, const char *what, double value,
                       struct err *e)
{
    char name[SERIES_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "%.100s/%s", path, what);
    return trainer_point(t, name, value, e);
}

static int rate_point(struct trainer *t, size_t node, const struct net_node_info *n, struct err *e)
{
    const struct tensor_desc *d = &n->out;
    const double cells = (double)(t->batch * d->t * d->h * d->w * d->c);
    const double rate = (double)net_spike_count(t->net, node) / cells;
    if (rate == 0.0 && t->warning[0] == '\0')
        (void)snprintf(t->warning, sizeof t->warning, "layer %s is silent at step %llu", n->path,
                       (unsigned long long)t->at.step);
    return layer_point(t, n->path, "firing_rate", rate, e);
}

static int series_of(struct trainer *t, const struct spec_monitor *m, size_t node,
                     const struct net_node_info *n, struct err *e)
{
    switch (m->type) {
    case SPEC_MONITOR_FIRING_RATE: return rate_point(t, node, n, e);
    case SPEC_MONITOR_TIME_CONSTANT:
        return layer_point(t, n->path, "tau", net_time_constant(t->net, node), e);
    case SPEC_MONITOR_GRAD_NORM:
        return layer_point(t, n->path, "grad_norm", net_grad_norm(t->net, node), e);
    case SPEC_MONITOR_PSN_WEIGHT: return record_psn_weight(t, node, n, e);
    case SPEC_MONITOR_RASTER:
    case SPEC_MONITOR_MEMBRANE: return 0; /* need a forward pass of their own */
    }
    return 0;
}

static bool fits(enum spec_monitor_type type, const struct net_node_info *n)
{
    const bool neuron = n->spec != NULL && n->spec->type == SPEC_NEURON;
    size_t count;
    const char *model = neuron ? spec_neuron_models(&count)[n->spec->u.neuron.model].name : "";
    switch (type) {
    case SPEC_MONITOR_FIRING_RATE:
    case SPEC_MONITOR_RASTER:
    case SPEC_MONITOR_MEMBRANE: return neuron;
    case SPEC_MONITOR_TIME_CONSTANT: return strcmp(model, "plif") == 0;
    case SPEC_MONITOR_PSN_WEIGHT: return strcmp(model, "psn") == 0;
    case SPEC_MONITOR_GRAD_NORM: return n->parameters > 0;
    }
    return false;
}

static int run_monitor(struct trainer *t, const struct spec_monitor *m, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < net_node_count(t->net); i++) {
        struct net_node_info n;
        net_node(t->net, i, &n);
        if (!fits(m->type, &n) || !chosen(m, n.path)) continue;
        if (m->type == SPEC_MONITOR_RASTER) rc = record_rasters(t, m, i, &n, e);
        else if (m->type == SPEC_MONITOR_MEMBRANE) rc = record_membrane(t, m, i, &n, e);
        else rc = series_of(t, m, i, &n, e);
    }
    return rc;
}

static bool wants_samples(const struct spec_monitor *m)
{
    return m->type == SPEC_MONITOR_RASTER || m->type == SPEC_MONITOR_MEMBRANE;
}

/* Series first: they are of the training batch, which the samples' forward pass overwrites. */
static int run_due(struct monitors *ms, struct trainer *t, const bool due[SPEC_MONITORS_MAX],
                   struct err *e)
{
    int rc = 0;
    size_t samples = 0;
    for (size_t i = 0; rc == 0 && i < ms->spec->n_monitors; i++) {
        const struct spec_monitor *m = &ms->spec->monitors[i];
        if (!due[i]) continue;
        if (!wants_samples(m)) rc = run_monitor(t, m, e);
        else if ((size_t)m->samples > samples) samples = (size_t)m->samples;
        else if (samples == 0) samples = 1;
    }
    if (rc != 0 || samples == 0 || t->o.output.record == NULL) return rc;
    record_prepare(t, samples);
    if (!ms->input_said) rc = record_input(t, e);
    ms->input_said = true;
    for (size_t i = 0; rc == 0 && i < ms->spec->n_monitors; i++)
        if (due[i] && wants_samples(&ms->spec->monitors[i]))
            rc = run_monitor(t, &ms->spec->monitors[i], e);
    return rc;
}

static int after_step(void *ctx, struct trainer *t, struct err *e)
{
    struct monitors *ms = ctx;
    bool due[SPEC_MONITORS_MAX] = { false }, any = false, samples = false;
    for (size_t i = 0; i < ms->spec->n_monitors; i++) {
        const int64_t every = ms->spec->monitors[i].every_steps;
        due[i] = every > 0 && (t->at.step % (uint64_t)every == 0 || t->at.step == 1);
        any |= due[i];
        samples |= due[i] && wants_samples(&ms->spec->monitors[i]);
    }
    const int rc = any ? run_due(ms, t, due, e) : 0;
    if (samples) record_restore(t);
    return rc;
}

static int after_epoch(void *ctx, struct trainer *t, struct err *e)
{
    struct monitors *ms = ctx;
    bool due[SPEC_MONITORS_MAX] = { false }, any = false;
    for (size_t i = 0; i < ms->spec->n_monitors; i++) {
        const int64_t every = ms->spec->monitors[i].every_epochs;
        due[i] = every > 0 && t->at.epoch % (uint64_t)every == 0;
        /* Rates of the last training batch are gone after the validation: once more is no loss. */
        any |= due[i];
    }
    return any ? run_due(ms, t, due, e) : 0;
}

struct train_observer monitors_observer(struct monitors *m)
{
    return (struct train_observer){ m, after_step, after_epoch };
}
