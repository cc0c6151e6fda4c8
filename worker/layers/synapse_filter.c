/* synapse_filter: a leaky trace of spikes, y[t] = y[t-1] - (1 - x[t]) y[t-1] / tau + x[t], y = 0
 * before the start: it decays where no spike is (SynapseFilter of SpikingJelly). tau is fixed, or
 * learned as 1/tau = sigmoid(w). Called through layer_ops on the main thread; a row or sample an
 * item of the pool. Of a REPEAT input y is still every step. Steps in spans: a span begins from the
 * y before it, and backward from what the span behind it left. The sum for w: per sample and step
 * in double, then over steps from the last, chained inside a shard (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

/* One step, of y or of what crosses from span to span. */
static struct tensor_desc one_step(const struct layer *l)
{
    return tensor_make(TENSOR_F32, l->in.b, 1, l->in.c, l->in.h, l->in.w);
}

static size_t sums_bytes(const struct layer *l)
{
    return mem_align(l->in.b * l->in.t * sizeof(double), 64);
}

static int sf_reshape(struct layer *l, const struct tensor_desc *in, size_t n_in,
                      struct tensor_desc *out, struct layer_needs *needs, struct err *e)
{
    assert(n_in == 1);
    struct spec_shape shape;
    if (layer_shape(l, in, &shape, e) != 0) return (int)e->code;
    if (in->flat_h * in->flat_w > 1)
        return err_set(e, ERR_SPEC, "synapse_filter cannot follow flatten");
    layer_plan_float(l, in, needs);
    *out = tensor_make(TENSOR_F32, in->b, in->t, in->c, in->h, in->w);
    if (l->spec->u.synapse_filter.learnable)
        layer_add_param(l, needs, (struct layer_param){ .name = "w", .floats = 1 });
    const struct tensor_desc one = one_step(l);
    needs->backward_scratch_bytes = sums_bytes(l) + tensor_bytes(&one);
    needs->state_bytes = tensor_bytes(&one);
    needs->thread_scratch_bytes = in->t * 16 * sizeof(float); /* dx of one block */
    needs->macs = (uint64_t)in->t * in->c * in->h * in->w * 2;
    return 0;
}

struct filter {
    const struct kernel_ctx *kc;
    struct tensor_view x, y, dy, dx;
    struct tensor_view trace; /* streams: y of the last step of the call before */
    bool begun;               /* streams: there was one */
    struct tensor_view flow;  /* backward: dL/dy of the span's first step with all that follows */
    float a; /* 1/tau */
    struct span t;
    size_t t_count; /* all */
    double *sums;   /* [b][t_count] of dL/da */
};

static struct filter filter_of(const struct layer *l, const struct step *s, struct span t)
{
    const bool learns = l->spec->u.synapse_filter.learnable;
    return (struct filter){
        .kc = s->kc, .x = layer_float_input(l, s, t), .y = s->y, .dy = s->dy, .dx = s->dx[0],
        .a = learns ? kernels_sigmoid(l->isa, s->w[0])
                    : (float)(1.0 / l->spec->u.synapse_filter.tau),
        .flow = { one_step(l), s->scratch + sums_bytes(l) },
        .t = t, .t_count = l->in.t, .sums = (double *)(void *)s->scratch,
    };
}

static void filter_row(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct filter *f = ctx;
    const size_t b = item / f->y.desc.h, row = item % f->y.desc.h;
    for (size_t x = 0; x < f->y.desc.w; x++)
        for (size_t block = 0; block < f->y.desc.c_stored / 16; block++) {
            float v[16] = { 0 };
            if (f->begun) memcpy(v, layer_block(&f->trace, b, 0, row, x, block), sizeof v);
            if (f->t.begin > 0)
                memcpy(v, layer_block(&f->y, b, f->t.begin - 1, row, x, block), sizeof v);
            for (size_t t = f->t.begin; t < f->t.end; t++) {
                const float *in = layer_block(&f->x, b, t, row, x, block);
                for (size_t c = 0; c < 16; c++) v[c] = v[c] - (1.0f - in[c]) * v[c] * f->a + in[c];
                memcpy(layer_block(&f->y, b, t, row, x, block), v, sizeof v);
            }
            if (f->trace.data != NULL)
                memcpy(layer_block(&f->trace, b, 0, row, x, block), v, sizeof v);
        }
}

static void sf_forward(const struct layer *l, const struct step *s, struct span t)
{
    struct filter f = filter_of(l, s, t);
    if (l->stream) f.trace = (struct tensor_view){ one_step(l), s->state };
    f.begun = l->stream && s->first_step > 0;
    threads_run(s->kc->threads, f.y.desc.b * f.y.desc.h, filter_row, &f);
}

/* From the last step of the span to the first: g is dL/dy[t] with all that follows. dx[t] into
 * out[t - begin][16]. */
static void filter_back(const struct filter *f, size_t b, size_t y, size_t x, size_t block,
                        float *out)
{
    float g[16] = { 0 };
    double *sums = f->sums + b * f->t_count;
    if (f->t.end < f->t_count) memcpy(g, layer_block(&f->flow, b, 0, y, x, block), sizeof g);
    for (size_t t = f->t.end; t-- > f->t.begin;) {
        const float *in = layer_block(&f->x, b, t, y, x, block);
        const float *dy = layer_block(&f->dy, b, t, y, x, block);
        const float *before = t > 0 ? layer_block(&f->y, b, t - 1, y, x, block) : NULL;
        for (size_t c = 0; c < 16; c++) {
            const float v = before != NULL ? before[c] : 0.0f;
            g[c] = g[c] + dy[c];
            out[(t - f->t.begin) * 16 + c] = g[c] * (v * f->a + 1.0f);
            sums[t] -= (double)((1.0f - in[c]) * v * g[c]);
            g[c] = g[c] * (1.0f - (1.0f - in[c]) * f->a);
        }
    }
    if (f->t.begin > 0) memcpy(layer_block(&f->flow, b, 0, y, x, block), g, sizeof g);
}

/* Every step, or the sum of all when the input is one. */
static void filter_store(const struct filter *f, size_t b, size_t y, size_t x, size_t block,
                         const float *from)
{
    if (f->dx.data == NULL) return;
    const bool once = f->dx.desc.kind == TENSOR_REPEAT;
    for (size_t t = f->t.begin; t < f->t.end; t++, from += 16) {
        float *dx = layer_block(&f->dx, b, t, y, x, block);
        for (size_t c = 0; c < 16; c++) dx[c] = (once && t > 0 ? dx[c] : 0.0f) + from[c];
    }
}

/* After the first step sums[0] of a sample is that of all steps. */
static void filter_back_sample(void *ctx, size_t b, size_t thread)
{
    const struct filter *f = ctx;
    const struct tensor_desc *d = &f->y.desc;
    float *out = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    double *sums = f->sums + b * f->t_count, total = 0.0;
    memset(sums + f->t.begin, 0, (f->t.end - f->t.begin) * sizeof sums[0]);
    for (size_t p = 0; p < d->h * d->w; p++)
        for (size_t block = 0; block < (d->c + 15) / 16; block++) {
            filter_back(f, b, p / d->w, p % d->w, block, out);
            filter_store(f, b, p / d->w, p % d->w, block, out);
        }
    for (size_t t = f->t_count; f->t.begin == 0 && t-- > 0;) total += sums[t];
    if (f->t.begin == 0) sums[0] = total;
}

static void sf_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    /* The gradient of one frame for all steps is their sum, t ascending. */
    const bool at_once = l->in.kind == TENSOR_REPEAT;
    if (at_once && t.begin > 0) return;
    struct filter f = filter_of(l, s, LAYER_NO_STEPS);
    f.t = (struct span){ t.begin, at_once ? l->in.t : t.end };
    threads_run(s->kc->threads, f.y.desc.b, filter_back_sample, &f);
}

static void sf_backward_weights(const struct layer *l, const struct step *s)
{
    const struct filter f = filter_of(l, s, LAYER_NO_STEPS);
    layer_chain(f.sums, f.t_count, 1, step_shard(s, s->shard), s->dw);
    s->dw[0] = s->dw[0] * f.a * (1.0f - f.a);
}

/* w = -ln(tau - 1), so that sigmoid(w) = 1/tau. */
static void sf_init(const struct layer *l, size_t i, struct philox_key key, uint32_t number,
                    float *values)
{
    (void)i;
    (void)key;
    (void)number;
    values[0] = -kernels_log(l->isa, (float)(l->spec->u.synapse_filter.tau - 1.0));
}

const struct layer_ops synapse_filter_ops = {
    .name = "synapse_filter",
    .reshape = sf_reshape,
    .forward = sf_forward,
    .backward_data = sf_backward_data,
    .backward_weights = sf_backward_weights,
    .init = sf_init,
};
