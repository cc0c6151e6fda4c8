/* synapse_filter: a leaky trace of spikes, y[t] = y[t-1] - (1 - x[t]) y[t-1] / tau + x[t], y = 0
 * before the start: it decays where no spike is (SynapseFilter of SpikingJelly). tau is fixed, or
 * learned as 1/tau = sigmoid(w). Called through layer_ops on the main thread; a row or sample an
 * item of the pool. Of a REPEAT input y is still every step. The sum for w: per sample in double,
 * chained inside a shard (design 5.8). */
#include "worker/layers/layer_kinds.h"

#include <assert.h>
#include <string.h>

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
    needs->backward_scratch_bytes = in->b * sizeof(double);
    const struct tensor_desc trace = tensor_make(TENSOR_F32, in->b, 1, in->c, in->h, in->w);
    needs->state_bytes = tensor_bytes(&trace);
    needs->thread_scratch_bytes = in->t * 16 * sizeof(float); /* dx of one block */
    needs->macs = (uint64_t)in->t * in->c * in->h * in->w * 2;
    return 0;
}

struct filter {
    const struct kernel_ctx *kc;
    struct tensor_view x, y, dy, dx;
    struct tensor_view trace; /* streams: y of the last step of the call before */
    bool begun;               /* streams: there was one */
    float a; /* 1/tau */
    size_t t_count;
    double *sums; /* [b] of dL/da */
};

static struct filter filter_of(const struct layer *l, const struct step *s, struct span t)
{
    const bool learns = l->spec->u.synapse_filter.learnable;
    return (struct filter){
        .kc = s->kc, .x = layer_float_input(l, s, t), .y = s->y, .dy = s->dy, .dx = s->dx[0],
        .a = learns ? kernels_sigmoid(l->isa, s->w[0])
                    : (float)(1.0 / l->spec->u.synapse_filter.tau),
        .t_count = l->in.t, .sums = (double *)(void *)s->scratch,
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
            for (size_t t = 0; t < f->t_count; t++) {
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
    assert(t.begin == 0 && (l->stream || t.end == l->in.t)); /* one scan over all T */
    struct filter f = filter_of(l, s, t);
    f.t_count = t.end;
    if (l->stream)
        f.trace = (struct tensor_view){
            tensor_make(TENSOR_F32, l->in.b, 1, l->in.c, l->in.h, l->in.w), s->state
        };
    f.begun = s->first_step > 0;
    threads_run(s->kc->threads, f.y.desc.b * f.y.desc.h, filter_row, &f);
}

/* From the last step to the first: g is dL/dy[t] with all that follows. dx[t] into out[t][16];
 * returns dL/da of the block. */
static double filter_back(const struct filter *f, size_t b, size_t y, size_t x, size_t block,
                          float *out)
{
    float g[16] = { 0 };
    double da = 0.0;
    for (size_t t = f->t_count; t-- > 0;) {
        const float *in = layer_block(&f->x, b, t, y, x, block);
        const float *dy = layer_block(&f->dy, b, t, y, x, block);
        const float *before = t > 0 ? layer_block(&f->y, b, t - 1, y, x, block) : NULL;
        for (size_t c = 0; c < 16; c++) {
            const float v = before != NULL ? before[c] : 0.0f;
            g[c] = g[c] + dy[c];
            out[t * 16 + c] = g[c] * (v * f->a + 1.0f);
            da -= (double)((1.0f - in[c]) * v * g[c]);
            g[c] = g[c] * (1.0f - (1.0f - in[c]) * f->a);
        }
    }
    return da;
}

/* Every step, or the sum of all when the input is one. */
static void filter_store(const struct filter *f, size_t b, size_t y, size_t x, size_t block,
                         const float *from)
{
    if (f->dx.data == NULL) return;
    const bool once = f->dx.desc.t_stored == 1;
    for (size_t t = 0; t < f->t_count; t++) {
        float *dx = layer_block(&f->dx, b, t, y, x, block);
        for (size_t c = 0; c < 16; c++)
            dx[c] = (once && t > 0 ? dx[c] : 0.0f) + from[t * 16 + c];
    }
}

static void filter_back_sample(void *ctx, size_t b, size_t thread)
{
    const struct filter *f = ctx;
    const struct tensor_desc *d = &f->y.desc;
    float *out = (float *)(void *)(f->kc->scratch + thread * f->kc->scratch_per_thread);
    double sum = 0.0;
    for (size_t p = 0; p < d->h * d->w; p++)
        for (size_t block = 0; block < (d->c + 15) / 16; block++) {
            sum += filter_back(f, b, p / d->w, p % d->w, block, out);
            filter_store(f, b, p / d->w, p % d->w, block, out);
        }
    f->sums[b] = sum;
}

static void sf_backward_data(const struct layer *l, const struct step *s, struct span t)
{
    assert(t.begin == 0 && t.end == l->in.t);
    struct filter f = filter_of(l, s, LAYER_NO_STEPS);
    threads_run(s->kc->threads, f.y.desc.b, filter_back_sample, &f);
}

static void sf_backward_weights(const struct layer *l, const struct step *s)
{
    const struct filter f = filter_of(l, s, LAYER_NO_STEPS);
    layer_chain(f.sums, 1, 1, step_shard(s, s->shard), s->dw);
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
    .all_steps = "its trace is one scan over all time-steps",
    .reshape = sf_reshape,
    .forward = sf_forward,
    .backward_data = sf_backward_data,
    .backward_weights = sf_backward_weights,
    .init = sf_init,
};
