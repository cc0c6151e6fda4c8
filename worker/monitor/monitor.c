/* monitor: which monitor is due at a step or an epoch, and the series; when a profile is. Records
 * are in monitor_records.c. See monitor.h. */
#include "worker/monitor/monitor.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/monitor/monitor_records.h"
#include "worker/train/profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SERIES_TYPES (SPEC_MONITOR_GRAD_NORM + 1)
/* The first profile comes soon, further ones in this distance or a hundredth of the run so far: a
 * run of a week has less than a thousand. */
#define PROFILE_FIRST_STEPS 10
#define PROFILE_EVERY_MS (10 * 1000)
#define PROFILE_SHARE 100

struct monitors {
    const struct spec *spec;
    uint64_t ran[SPEC_MONITORS_MAX]; /* step at which a monitor ran last; 0 = never */
    struct profile profile;
    int64_t begun_ms, profiled_ms; /* when measuring began, and the last profile was sent */
    bool profiled;
    uint64_t *said; /* [SERIES_TYPES][nodes]: step of the last point of a series; 0 = none */
};

int monitors_create(struct monitors **out, const struct spec *spec, struct err *e)
{
    struct monitors *m = mem_calloc(1, sizeof *m);
    if (m == NULL) return err_set(e, ERR_NOMEM, "monitors");
    m->spec = spec;
    *out = m;
    return 0;
}

void monitors_destroy(struct monitors *m)
{
    if (m == NULL) return;
    profile_deinit(&m->profile);
    mem_free(m->said);
    mem_free(m);
}

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
    const double rate = net_firing_rate(t->net, node);
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
    const struct spec_neuron *neuron = n->spec != NULL ? spec_layer_neuron(n->spec) : NULL;
    size_t count;
    const struct spec_neuron_model *models = spec_neuron_models(&count);
    const unsigned traits = neuron != NULL ? models[neuron->model].traits : 0;
    switch (type) {
    case SPEC_MONITOR_FIRING_RATE:
    case SPEC_MONITOR_RASTER: return neuron != NULL && (traits & SPEC_ANALOG) == 0;
    case SPEC_MONITOR_MEMBRANE: return neuron != NULL && n->spec->type == SPEC_NEURON;
    case SPEC_MONITOR_TIME_CONSTANT: return (traits & SPEC_TAU) != 0;
    case SPEC_MONITOR_PSN_WEIGHT: return neuron != NULL && !models[neuron->model].serial;
    case SPEC_MONITOR_GRAD_NORM: return n->parameters > 0;
    }
    return false;
}

/* Two monitors may ask for one series: it has one point a step. */
static bool first_at_step(struct monitors *ms, const struct trainer *t, enum spec_monitor_type type,
                          size_t node)
{
    uint64_t *said = &ms->said[(size_t)type * net_node_count(t->net) + node];
    if (*said == t->at.step) return false;
    *said = t->at.step;
    return true;
}

static int run_monitor(struct monitors *ms, struct trainer *t, const struct spec_monitor *m,
                       struct err *e)
{
    int rc = 0;
    if (ms->said == NULL)
        ms->said = mem_calloc(SERIES_TYPES * net_node_count(t->net), sizeof ms->said[0]);
    if (ms->said == NULL) return err_set(e, ERR_NOMEM, "monitors");
    for (size_t i = 0; rc == 0 && i < net_node_count(t->net); i++) {
        struct net_node_info n;
        net_node(t->net, i, &n);
        if (!fits(m->type, &n) || !chosen(m, n.path)) continue;
        if (m->type == SPEC_MONITOR_RASTER) rc = record_rasters(t, m, i, &n, e);
        else if (m->type == SPEC_MONITOR_MEMBRANE) rc = record_membrane(t, m, i, &n, e);
        else if (first_at_step(ms, t, m->type, i)) rc = series_of(t, m, i, &n, e);
    }
    return rc;
}

static bool wants_samples(const struct spec_monitor *m)
{
    return m->type == SPEC_MONITOR_RASTER || m->type == SPEC_MONITOR_MEMBRANE;
}

/* Whether this is the first time in the whole experiment that a monitor wants samples: the picture
 * beside the rasters is recorded then. A function of the position alone, so that an attempt that
 * goes on does not record it again. */
static bool first_samples(const struct spec *s, const struct trainer *t)
{
    int64_t epochs = 0; /* of the monitor that comes first */
    for (size_t i = 0; i < s->n_monitors; i++) {
        const struct spec_monitor *m = &s->monitors[i];
        if (!wants_samples(m)) continue;
        if (m->every_steps > 0) return t->at.step == 1 && t->at.epoch == 0;
        if (m->every_epochs > 0 && (epochs == 0 || m->every_epochs < epochs))
            epochs = m->every_epochs;
    }
    return t->at.epoch == (uint64_t)epochs;
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
        if (!wants_samples(m)) rc = run_monitor(ms, t, m, e);
        else if ((size_t)m->samples > samples) samples = (size_t)m->samples;
        else if (samples == 0) samples = 1;
    }
    if (rc != 0 || samples == 0 || t->o.output.record == NULL) return rc;
    record_prepare(t, samples);
    if (first_samples(ms->spec, t)) rc = record_input(t, e);
    for (size_t i = 0; rc == 0 && i < ms->spec->n_monitors; i++)
        if (due[i] && wants_samples(&ms->spec->monitors[i]))
            rc = run_monitor(ms, t, &ms->spec->monitors[i], e);
    return rc;
}

/* ---- profile --------------------------------------------------------------------------------- */
static bool profile_due(const struct monitors *ms, const struct trainer *t)
{
    if (ms->profile.steps == 0) return false;
    if (t->at.step == t->steps_total) return true;
    if (!ms->profiled) return ms->profile.steps >= PROFILE_FIRST_STEPS;
    const int64_t now_ms = clock_mono_ms(), share_ms = (now_ms - ms->begun_ms) / PROFILE_SHARE;
    return now_ms - ms->profiled_ms >= (share_ms > PROFILE_EVERY_MS ? share_ms : PROFILE_EVERY_MS);
}

/* Every run that records is measured, from its second step on: the first one meets cold memory. */
static int run_profile(struct monitors *ms, struct trainer *t, struct err *e)
{
    if (t->o.output.record == NULL) return 0;
    if (t->profile == NULL) {
        profile_deinit(&ms->profile);
        const int rc = profile_init(&ms->profile, t->net, e);
        if (rc == 0) t->profile = &ms->profile;
        ms->begun_ms = clock_mono_ms();
        ms->profiled = false;
        return rc;
    }
    if (!profile_due(ms, t)) return 0;
    const int rc = record_profile(t, &ms->profile, e);
    ms->profiled_ms = clock_mono_ms();
    ms->profiled = true;
    profile_forget(&ms->profile);
    return rc;
}

/* ---- the trainer's side ---------------------------------------------------------------------- */
static int after_step(void *ctx, struct trainer *t, struct err *e)
{
    struct monitors *ms = ctx;
    bool due[SPEC_MONITORS_MAX] = { false }, any = false, samples = false;
    if (run_profile(ms, t, e) != 0) return (int)e->code;
    for (size_t i = 0; i < ms->spec->n_monitors; i++) {
        const int64_t every = ms->spec->monitors[i].every_steps;
        due[i] = every > 0 && (t->at.step % (uint64_t)every == 0 || t->at.step == 1);
        if (due[i]) ms->ran[i] = t->at.step;
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
        due[i] = every > 0 && t->at.epoch % (uint64_t)every == 0 && ms->ran[i] != t->at.step;
        any |= due[i];
    }
    return any ? run_due(ms, t, due, e) : 0;
}

struct train_observer monitors_observer(struct monitors *m)
{
    return (struct train_observer){ m, after_step, after_epoch };
}
