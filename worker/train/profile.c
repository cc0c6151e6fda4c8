/* profile: see profile.h. */
#include "worker/train/profile.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t width(const struct profile *p) { return PROFILE_PARTS + 2 * p->layers; }

static float *row_of(const struct profile *p, uint64_t step)
{
    return p->ms + step % PROFILE_STEPS_MAX * width(p);
}

int profile_init(struct profile *p, const struct net *n, struct err *e)
{
    *p = (struct profile){ .layers = net_node_count(n) };
    p->ms = mem_calloc(PROFILE_STEPS_MAX * width(p), sizeof p->ms[0]);
    p->sorted = mem_calloc(PROFILE_STEPS_MAX, sizeof p->sorted[0]);
    p->kernels = mem_calloc(p->layers, sizeof p->kernels[0]);
    if (p->ms != NULL && p->sorted != NULL && p->kernels != NULL) {
        /* Fresh memory has its page faults now, not in a step. */
        memset(p->ms, 0, PROFILE_STEPS_MAX * width(p) * sizeof p->ms[0]);
        profile_forget(p);
        return 0;
    }
    profile_deinit(p);
    return err_set(e, ERR_NOMEM, "profile of %zu layers", net_node_count(n));
}

void profile_deinit(struct profile *p)
{
    mem_free(p->ms);
    mem_free(p->sorted);
    mem_free(p->kernels);
    *p = (struct profile){ 0 };
}

void profile_forget(struct profile *p) { memset(p->kernels, 0, p->layers * sizeof p->kernels[0]); }

/* ---- one step -------------------------------------------------------------------------------- */
int64_t profile_now(const struct profile *p) { return p != NULL ? clock_mono_ns() : 0; }

void profile_begin(struct profile *p, struct net *n)
{
    if (p == NULL) return;
    memset(p->part, 0, sizeof p->part);
    net_profile(n, p->kernels);
}

void profile_add(struct profile *p, enum profile_part part, int64_t since_ns)
{
    if (p != NULL) p->part[part] += (double)(clock_mono_ns() - since_ns) * 1e-6;
}

void profile_end(struct profile *p, struct net *n, int64_t begin_ns)
{
    if (p == NULL) return;
    float *row = row_of(p, p->steps);
    profile_add(p, PROFILE_STEP, begin_ns);
    net_profile(n, NULL);
    for (size_t i = 0; i < p->layers; i++) {
        double forward, backward;
        net_node_times(n, i, &forward, &backward);
        row[PROFILE_PARTS + 2 * i] = (float)forward;
        row[PROFILE_PARTS + 2 * i + 1] = (float)backward;
        p->part[PROFILE_FORWARD] += forward;
        p->part[PROFILE_BACKWARD] += backward;
    }
    for (size_t i = 0; i < PROFILE_PARTS; i++) row[i] = (float)p->part[i];
    p->steps++;
}

/* ---- what came of them ----------------------------------------------------------------------- */
static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static size_t newest(const struct profile *p)
{
    return p->steps < PROFILE_STEPS_MAX ? (size_t)p->steps : PROFILE_STEPS_MAX;
}

static double median(const struct profile *p, size_t column)
{
    const size_t n = newest(p);
    if (n == 0) return (double)NAN;
    for (size_t i = 0; i < n; i++) p->sorted[i] = p->ms[i * width(p) + column];
    qsort(p->sorted, n, sizeof p->sorted[0], by_value);
    return (double)p->sorted[n / 2];
}

/* Digits that a clock or a batch can tell apart, not those of a double. */
static bool add_ms(cJSON *o, const char *name, double ms)
{
    return json_add_number(o, name, round(ms * 1e4) / 1e4);
}

static bool add_share(cJSON *o, const char *name, double share)
{
    return json_add_number(o, name, round(share * 1e6) / 1e6);
}

double profile_last(const struct profile *p, enum profile_part part) { return p->part[part]; }

/* Calls of one product by form, the most frequent first. */
#define FORMS_MAX 5
struct forms {
    const char *name[FORMS_MAX];
    uint64_t calls[FORMS_MAX], total, events;
    size_t n;
};

static void forms_add(struct forms *f, const char *name, uint64_t calls)
{
    size_t i = 0;
    while (i < f->n && strcmp(f->name[i], name) != 0) i++;
    if (i == FORMS_MAX) return;
    if (i == f->n) {
        f->name[f->n++] = name;
        f->calls[i] = 0;
    }
    f->calls[i] += calls;
    f->total += calls;
    if (strcmp(name, "event") == 0) f->events += calls;
    for (; i > 0 && f->calls[i] > f->calls[i - 1]; i--) {
        const char *other = f->name[i - 1];
        const uint64_t fewer = f->calls[i - 1];
        f->name[i - 1] = f->name[i];
        f->calls[i - 1] = f->calls[i];
        f->name[i] = other;
        f->calls[i] = fewer;
    }
}

static void forms_of(const struct kernel_trace *k, struct forms out[PRODUCT_COUNT])
{
    memset(out, 0, PRODUCT_COUNT * sizeof out[0]);
    for (size_t id = 0; id < KERNEL_ID_COUNT; id++) {
        enum kernel_product product;
        const char *form = k->calls[id] > 0 ? kernel_form(id, &product) : NULL;
        if (form != NULL) forms_add(&out[product], form, k->calls[id]);
    }
}

/* "event", or "event+dense" when both were taken; nothing when the layer has no such product. */
static bool add_forms(cJSON *o, const char *name, const struct forms *f)
{
    char text[80] = "";
    for (size_t i = 0; i < f->n; i++) {
        const size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, "%s%s", i > 0 ? "+" : "", f->name[i]);
    }
    return f->n == 0 || cJSON_AddStringToObject(o, name, text) != NULL;
}

/* Forward and backward-weights choose by the spikes they read; gradients are never events. */
static bool add_paths(cJSON *o, const struct kernel_trace *k)
{
    struct forms f[PRODUCT_COUNT];
    forms_of(k, f);
    const uint64_t chosen = f[PRODUCT_FORWARD].total + f[PRODUCT_BACKWARD_WEIGHTS].total;
    const uint64_t events = f[PRODUCT_FORWARD].events + f[PRODUCT_BACKWARD_WEIGHTS].events;
    return (chosen == 0 || add_share(o, "event_share", (double)events / (double)chosen)) &&
           add_forms(o, "forward_path", &f[PRODUCT_FORWARD]) &&
           add_forms(o, "backward_data_path", &f[PRODUCT_BACKWARD_DATA]) &&
           add_forms(o, "backward_weights_path", &f[PRODUCT_BACKWARD_WEIGHTS]);
}

/* Of a layer of neurons: "plif". */
static const char *model_of(const struct net_node_info *info)
{
    const struct spec_neuron *neuron = info->spec != NULL ? spec_layer_neuron(info->spec) : NULL;
    size_t count;
    return neuron != NULL ? spec_neuron_models(&count)[neuron->model].name : NULL;
}

static bool add_layer(cJSON *list, const struct profile *p, const struct net *n, size_t i)
{
    struct net_node_info info;
    net_node(n, i, &info);
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    const double density = net_input_density(n, i);
    const char *model = model_of(&info);
    const bool fires = model != NULL && info.out.kind == TENSOR_BITS;
    return cJSON_AddStringToObject(o, "path", info.path) != NULL &&
           cJSON_AddStringToObject(o, "type", info.type) != NULL &&
           (model == NULL || cJSON_AddStringToObject(o, "model", model) != NULL) &&
           add_ms(o, "forward_ms", median(p, PROFILE_PARTS + 2 * i)) &&
           add_ms(o, "backward_ms", median(p, PROFILE_PARTS + 2 * i + 1)) &&
           (isnan(density) || add_share(o, "input_density", density)) &&
           (!fires || add_share(o, "firing_rate", net_firing_rate(n, i))) &&
           add_paths(o, &p->kernels[i]);
}

cJSON *profile_layers(const struct profile *p, const struct net *n)
{
    cJSON *list = cJSON_CreateArray();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < p->layers; i++) ok = add_layer(list, p, n, i);
    if (ok) return list;
    cJSON_Delete(list);
    return NULL;
}

cJSON *profile_json(const struct profile *p, const struct trainer *t)
{
    enum isa isa = ISA_GENERIC;
    struct err ignored = { 0 };
    (void)kernels_choose(&isa, &ignored);
    cJSON *o = cJSON_CreateObject(), *layers = o != NULL ? profile_layers(p, t->net) : NULL;
    if (layers != NULL && json_add_int(o, "step", (int64_t)t->at.step) &&
        json_add_int(o, "epoch", (int64_t)t->at.epoch) &&
        json_add_time(o, "time", clock_wall_ms()) && json_add_int(o, "steps", (int64_t)newest(p)) &&
        json_add_int(o, "samples", (int64_t)trainer_update_size(t)) &&
        json_add_int(o, "threads", (int64_t)threads_count(t->threads)) &&
        cJSON_AddStringToObject(o, "isa", isa_name(isa)) != NULL &&
        add_ms(o, "step_ms", median(p, PROFILE_STEP)) &&
        add_ms(o, "forward_ms", median(p, PROFILE_FORWARD)) &&
        add_ms(o, "backward_ms", median(p, PROFILE_BACKWARD)) &&
        add_ms(o, "optimizer_ms", median(p, PROFILE_OPTIMIZER)) &&
        add_ms(o, "data_ms", median(p, PROFILE_DATA)) && cJSON_AddItemToObject(o, "layers", layers))
        return o;
    cJSON_Delete(layers);
    cJSON_Delete(o);
    return NULL;
}
