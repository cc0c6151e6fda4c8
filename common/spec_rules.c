/* spec_rules: what one field demands of another, and the monitors of a spec that names none.
 * Any thread. */
#include "common/spec_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool spec_monitor_fits(enum spec_monitor_type type, const struct spec_layer *l)
{
    size_t count;
    const struct spec_neuron *neuron = spec_layer_neuron(l);
    const struct spec_neuron_model *models = spec_neuron_models(&count);
    const unsigned traits = neuron != NULL ? models[neuron->model].traits : 0;
    const bool parallel = neuron != NULL && !models[neuron->model].serial;
    switch (type) {
    case SPEC_MONITOR_FIRING_RATE:
    case SPEC_MONITOR_RASTER: return neuron != NULL && (traits & SPEC_ANALOG) == 0;
    case SPEC_MONITOR_MEMBRANE: return l->type == SPEC_NEURON;
    case SPEC_MONITOR_TIME_CONSTANT: return (traits & SPEC_TAU) != 0;
    case SPEC_MONITOR_PSN_WEIGHT: return parallel;
    case SPEC_MONITOR_GRAD_NORM:
        return l->type == SPEC_CONV2D || l->type == SPEC_LINEAR || l->type == SPEC_BATCH_NORM ||
               l->type == SPEC_TEMPORAL_ATTENTION || l->type == SPEC_CHANNEL_ATTENTION ||
               l->type == SPEC_SPATIAL_ATTENTION ||
               (l->type == SPEC_SYNAPSE_FILTER && l->u.synapse_filter.learnable) ||
               l->type == SPEC_CONV1D || l->type == SPEC_CONV_TRANSPOSE2D ||
               l->type == SPEC_GROUP_NORM || l->type == SPEC_THRESHOLD_BATCH_NORM ||
               l->type == SPEC_TEMPORAL_BATCH_NORM ||
               (l->type == SPEC_RECURRENT && l->u.recurrent.connect == SPEC_ALL_TO_ALL) ||
               (traits & SPEC_SERIAL && neuron->learn_threshold) || (traits & SPEC_LEARNS_ANY) ||
               parallel;
    }
    return false;
}

static bool matches_any(const struct spec *s, enum spec_monitor_type type, const char *glob)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        if (spec_glob(glob, s->layers[i].path) && spec_monitor_fits(type, &s->layers[i]))
            return true;
    }
    return false;
}

void spec_default_monitors(struct spec *s)
{
    static const enum spec_monitor_type types[] = { SPEC_MONITOR_FIRING_RATE, SPEC_MONITOR_RASTER,
                                                    SPEC_MONITOR_TIME_CONSTANT,
                                                    SPEC_MONITOR_PSN_WEIGHT };
    s->n_monitors = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (!matches_any(s, types[i], "*")) continue;
        struct spec_monitor *m = &s->monitors[s->n_monitors++];
        *m = (struct spec_monitor){ .type = types[i] };
        spec_default_object(&spec_object_monitor, m);
    }
}

/* A layer or monitor that was not understood would only be reported a second time. */
static bool understood(const struct spec *s, const struct json_faults *faults)
{
    static const char monitors[] = "/monitors";
    for (size_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].unread) return false;
    for (size_t i = 0; i < faults->count; i++)
        if (strncmp(faults->items[i].pointer, monitors, sizeof monitors - 1) == 0) return false;
    return s->n_layers > 0;
}

static void check_monitors(const struct spec *s, struct json_faults *faults)
{
    for (size_t i = 0; i < s->n_monitors; i++) {
        const struct spec_monitor *m = &s->monitors[i];
        char here[64];
        (void)snprintf(here, sizeof here, "/monitors/%zu/layers", i);
        for (size_t j = 0; j < m->n_layers; j++) {
            if (matches_any(s, m->type, m->layers[j])) continue;
            json_fault_add(faults, here, "no_match", "'%.60s' matches no layer of the right kind",
                           m->layers[j]);
        }
        (void)snprintf(here, sizeof here, "/monitors/%zu", i);
        if (m->n_layers == 0 && !matches_any(s, m->type, "*")) {
            json_fault_add(faults, here, "no_match", "the network has no layer of the right kind");
        }
        if (m->every_steps == 0 && m->every_epochs == 0) {
            json_fault_add(faults, here, "missing", "every_steps or every_epochs must be above 0");
        }
    }
}

static void check_paths(const struct spec *s, struct json_faults *faults)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(s->layers[i].path, s->layers[j].path) != 0) continue;
            char here[200];
            spec_pointer(here, sizeof here, s->layers[i].pointer, "name");
            json_fault_add(faults, here, "duplicate", "'%s' is the path of layer %zu too",
                           s->layers[i].path, j);
            break;
        }
    }
}

static bool dataset_name_valid(const char *name)
{
    if (*name == '\0' || strchr("-_", *name) != NULL) return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(name);
}

void spec_settle_frames(struct spec *s, const cJSON *json)
{
    const struct spec_dataset_info *info = s->data;
    const bool events = info != NULL && info->kind == SPEC_DATA_EVENTS;
    s->dataset.n_frames = events || json_get(json_get(json, "dataset"), "frames") != NULL;
}

/* Samples with a time of their own: one frame or step of them is one time-step. */
static void check_time(const struct spec *s, struct json_faults *faults)
{
    const struct spec_dataset_info *info = s->data;
    if (info == NULL) return;
    if (s->dataset.n_frames > 0 && info->kind != SPEC_DATA_EVENTS) {
        json_fault_add(faults, "/dataset/frames", "not_allowed", "'%s' has no events",
                       s->dataset.name);
    }
    if (s->dataset.encoder != SPEC_ENCODER_DIRECT && info->kind != SPEC_DATA_IMAGES) {
        json_fault_add(faults, "/dataset/encoder/type", "not_allowed",
                       "samples of '%s' have a time of their own: leave the encoder out",
                       s->dataset.name);
    }
    if (s->time_steps < info->time_steps_min) {
        json_fault_add(faults, "/time_steps", "out_of_range", "'%s' needs at least %lld, got %lld",
                       s->dataset.name, (long long)info->time_steps_min, (long long)s->time_steps);
    }
}

static void check_dataset(const struct spec *s, const cJSON *json, struct json_faults *faults)
{
    const struct spec_dataset *d = &s->dataset;
    const cJSON *dataset = json_get(json, "dataset");
    if (json_get_string(dataset, "name", NULL) != NULL && !dataset_name_valid(d->name)) {
        json_fault_add(faults, "/dataset/name", "not_allowed",
                       "a dataset is named by small letters, digits, '-' and '_', got '%.60s'",
                       d->name);
    }
    const cJSON *normalize = json_get(dataset, "normalize");
    if (normalize == NULL) return;
    const cJSON *mean = json_get(normalize, "mean"), *std = json_get(normalize, "std");
    int n_mean = cJSON_IsArray(mean) ? cJSON_GetArraySize(mean) : 1;
    int n_std = cJSON_IsArray(std) ? cJSON_GetArraySize(std) : 1;
    if (mean != NULL && std != NULL && n_mean != n_std) {
        json_fault_add(faults, "/dataset/normalize/std", "wrong_type",
                       "has %d numbers, mean has %d", n_std, n_mean);
    }
    const struct spec_dataset_info *info = s->data;
    if (info != NULL && n_mean != 1 && n_mean != info->shape.c) {
        json_fault_add(faults, "/dataset/normalize/mean", "out_of_range",
                       "has %d numbers, the dataset has %lld channels", n_mean,
                       (long long)info->shape.c);
    }
    if (d->encoder != SPEC_ENCODER_DIRECT) {
        json_fault_add(faults, "/dataset/normalize", "not_allowed",
                       "the %s encoder needs values in [0, 1]: leave normalize out",
                       json_get_string(json_get(dataset, "encoder"), "type", ""));
    }
}

static void check_schedule(const struct spec_schedule *s, struct json_faults *faults)
{
    if (s->type != SPEC_SCHEDULE_MULTI_STEP) return;
    for (size_t i = 0; i < s->n_milestones; i++) {
        char here[64];
        (void)snprintf(here, sizeof here, "/train/schedule/milestones/%zu", i);
        if (s->milestones[i] != floor(s->milestones[i]))
            json_fault_add(faults, here, "wrong_type", "must be a whole number, got %.15g",
                           s->milestones[i]);
        else if (i > 0 && s->milestones[i] < s->milestones[i - 1])
            json_fault_add(faults, here, "out_of_range", "must not be below the one before, %.15g",
                           s->milestones[i - 1]);
    }
}

/* Readouts of potentials: not of a last layer that spikes. */
static void check_readout(const struct spec *s, struct json_faults *faults)
{
    const enum spec_readout r = s->train.readout;
    const bool potentials = r == SPEC_READOUT_MAX_MEMBRANE || r == SPEC_READOUT_MAX_ABS_MEMBRANE;
    if (!potentials || s->n_layers == 0) return;
    size_t count;
    const struct spec_neuron *last = spec_layer_neuron(&s->layers[s->n_layers - 1]);
    if (last == NULL || (spec_neuron_models(&count)[last->model].traits & SPEC_ANALOG)) return;
    json_fault_add(faults, "/train/readout", "not_allowed",
                   "%s reads potentials, but the last layer spikes: end the network with a layer "
                   "that gives numbers, as non_spiking_lif does",
                   r == SPEC_READOUT_MAX_MEMBRANE ? "max_membrane" : "max_abs_membrane");
}

static void check_train(const struct spec *s, struct json_faults *faults)
{
    const struct spec_train *t = &s->train;
    if ((t->shards & (t->shards - 1)) != 0 || t->shards > t->batch_size) {
        json_fault_add(faults, "/train/shards", "out_of_range",
                       "must be a power of two and at most batch_size, got %lld",
                       (long long)t->shards);
    }
    check_readout(s, faults);
    check_schedule(&t->schedule, faults);
    if (t->early_stop.patience > 0 && s->dataset.validation_fraction <= 0)
        json_fault_add(faults, "/train/early_stop", "not_allowed",
                       "looks at the validation split: dataset.validation.fraction is 0");
    const struct spec_optimizer *o = &t->optimizer;
    if (o->type == SPEC_SGD && o->nesterov && (o->momentum <= 0 || o->dampening != 0)) {
        json_fault_add(faults, "/train/optimizer/nesterov", "not_allowed",
                       "needs a momentum above 0 and no dampening");
    }
}

bool spec_check_rules(const struct spec *s, const cJSON *json, struct json_faults *faults)
{
    check_dataset(s, json, faults);
    check_time(s, faults);
    check_train(s, faults);
    check_paths(s, faults);
    if (understood(s, faults)) check_monitors(s, faults);
    const struct spec_dataset_info *info = s->data;
    return info == NULL || spec_shapes(s, info->shape, info->classes, NULL, faults);
}
