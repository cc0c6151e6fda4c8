/* monitor_records: see monitor_records.h. */
#include "worker/monitor/monitor_records.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/monitor/monitor.h"
#include "worker/train/profile.h"

#include <stdio.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL 1
#define RECORD_BYTES_MAX (WIRE_FRAME_BYTES_MAX - 4096)

static const struct sample_set *samples_of(const struct trainer *t)
{
    return t->validation.count > 0 ? &t->validation : &t->train;
}

void record_prepare(struct trainer *t, size_t samples)
{
    const struct sample_set *set = samples_of(t);
    const struct tensor_desc *desc;
    void *input = net_input_data(t->net, &desc);
    size_t n = samples < set->count ? samples : set->count;
    if (n > desc->b) n = desc->b;
    batcher_begin(&t->batcher, set, 0, false);
    batcher_fill(&t->batcher, set, 0, 0, n, false, desc, input, t->labels);
    const struct net_step s = { .step = t->at.step, .samples = n, .lengths = t->lengths };
    net_forward(t->net, &s);
}

void record_restore(struct trainer *t) { batcher_begin(&t->batcher, &t->train, t->at.epoch, true); }

/* Compresses when that helps and hands the record on; data stays the caller's. */
static int send(struct trainer *t, struct record *r, const void *data, size_t bytes, struct err *e)
{
    r->step = t->at.step;
    r->epoch = (uint32_t)t->at.epoch;
    r->time_ms = clock_wall_ms();
    r->data = data;
    r->data_bytes = (uint32_t)bytes;
    r->encoding = RECORD_RAW;
    if (bytes > RECORD_BYTES_MAX) return 0; /* an input of many large frames is left out */
    const size_t room = ZSTD_compressBound(bytes);
    void *packed = mem_alloc(room);
    if (packed == NULL) return err_set(e, ERR_NOMEM, "record of %zu bytes", bytes);
    const size_t n = ZSTD_compress(packed, room, data, bytes, ZSTD_LEVEL);
    if (!ZSTD_isError(n) && n < bytes) {
        r->data = packed;
        r->data_bytes = (uint32_t)n;
        r->encoding = RECORD_ZSTD;
    }
    const int rc = t->o.output.record(t->o.output.ctx, r, e);
    mem_free(packed);
    return rc;
}

int record_input(struct trainer *t, struct err *e)
{
    const struct sample_set *set = samples_of(t);
    const struct dataset *d = set->data;
    const size_t n = d->t * d->c * d->h * d->w;
    float *pixels = mem_calloc(n, sizeof pixels[0]);
    if (pixels == NULL) return err_set(e, ERR_NOMEM, "input record");
    d->ops->read(d, set->part, set->index[0], pixels);
    struct record r = { .kind = RECORD_INPUT, .layer = "@input" };
    if (d->t > 1) r.dims[r.n_dims++] = (uint32_t)d->t;
    r.dims[r.n_dims++] = (uint32_t)d->c;
    r.dims[r.n_dims++] = (uint32_t)d->h;
    r.dims[r.n_dims++] = (uint32_t)d->w;
    const int rc = send(t, &r, pixels, n * sizeof pixels[0], e);
    mem_free(pixels);
    return rc;
}

static int record_raster(struct trainer *t, size_t node, const struct net_node_info *n,
                         size_t sample, size_t neurons, struct err *e)
{
    const struct tensor_desc *d;
    const void *spikes = net_node_output(t->net, node, &d);
    const size_t total = d->c * d->h * d->w, row = (neurons + 7) / 8;
    unsigned char *bits = mem_calloc(d->t, row);
    if (bits == NULL) return err_set(e, ERR_NOMEM, "raster");
    for (size_t step = 0; step < d->t; step++)
        for (size_t i = 0; i < neurons; i++) {
            const size_t cell = monitor_pick(i, neurons, total);
            const size_t c = cell / (d->h * d->w), y = cell / d->w % d->h, x = cell % d->w;
            if (tensor_get(d, spikes, sample, step, c, y, x) != 0.0f)
                bits[step * row + i / 8] |= (unsigned char)(1u << i % 8);
        }
    struct record r = { .kind = RECORD_RASTER, .n_dims = 2,
                        .dims = { (uint32_t)d->t, (uint32_t)neurons } };
    (void)snprintf(r.layer, sizeof r.layer, "%s", n->path);
    const int rc = send(t, &r, bits, d->t * row, e);
    mem_free(bits);
    return rc;
}

static size_t neurons_of(const struct spec_monitor *m, const struct tensor_desc *d)
{
    const size_t total = d->c * d->h * d->w;
    return (size_t)m->neurons < total ? (size_t)m->neurons : total;
}

int record_rasters(struct trainer *t, const struct spec_monitor *m, size_t node,
                   const struct net_node_info *n, struct err *e)
{
    int rc = 0;
    size_t samples = (size_t)m->samples;
    if (samples > samples_of(t)->count) samples = samples_of(t)->count;
    if (samples > n->out.b) samples = n->out.b;
    for (size_t i = 0; rc == 0 && i < samples; i++)
        rc = record_raster(t, node, n, i, neurons_of(m, &n->out), e);
    return rc;
}

int record_membrane(struct trainer *t, const struct spec_monitor *m, size_t node,
                    const struct net_node_info *n, struct err *e)
{
    const size_t neurons = neurons_of(m, &n->out), total = n->out.c * n->out.h * n->out.w;
    size_t *which = mem_calloc(neurons, sizeof which[0]);
    float *v = mem_calloc(neurons * n->out.t, sizeof v[0]);
    int rc = which == NULL || v == NULL ? err_set(e, ERR_NOMEM, "membrane record") : 0;
    for (size_t i = 0; rc == 0 && i < neurons; i++) which[i] = monitor_pick(i, neurons, total);
    if (rc == 0) rc = net_membrane(t->net, node, 0, which, neurons, v, e);
    if (rc == 0) {
        struct record r = { .kind = RECORD_MEMBRANE, .n_dims = 2,
                            .dims = { (uint32_t)n->out.t, (uint32_t)neurons } };
        (void)snprintf(r.layer, sizeof r.layer, "%s", n->path);
        rc = send(t, &r, v, neurons * n->out.t * sizeof v[0], e);
    }
    mem_free(v);
    mem_free(which);
    return rc;
}

int record_psn_weight(struct trainer *t, size_t node, const struct net_node_info *n, struct err *e)
{
    if (t->o.output.record == NULL) return 0;
    const size_t steps = n->out.t;
    float *w = mem_calloc(steps * steps, sizeof w[0]);
    if (w == NULL) return err_set(e, ERR_NOMEM, "PSN weights");
    int rc = net_psn_weight(t->net, node, w, e);
    if (rc == 0) {
        struct record r = { .kind = RECORD_PSN_WEIGHT, .n_dims = 2,
                            .dims = { (uint32_t)steps, (uint32_t)steps } };
        (void)snprintf(r.layer, sizeof r.layer, "%s", n->path);
        rc = send(t, &r, w, steps * steps * sizeof w[0], e);
    }
    mem_free(w);
    return rc;
}

int record_profile(struct trainer *t, const struct profile *p, struct err *e)
{
    size_t length = 0;
    cJSON *json = profile_json(p, t);
    char *text = json != NULL ? json_print(json, &length) : NULL;
    cJSON_Delete(json);
    if (text == NULL) return err_set(e, ERR_NOMEM, "profile");
    struct record r = {
        .kind = RECORD_PROFILE, .layer = "@net", .n_dims = 1, .dims = { (uint32_t)p->layers }
    };
    const int rc = send(t, &r, text, length, e);
    mem_free(text);
    return rc;
}
