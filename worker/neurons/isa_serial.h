/* isa_serial: the scan over time that all serial neurons share, as a template. A model file says
 * what is its own as macros or inlined functions and includes this file, which makes serial_forward
 * and serial_backward of them; nothing is called through a pointer inside a loop.
 * Included once by each of isa_if.c, isa_lif.c, ...; runs on any thread.
 *
 * A cell has a potential v and may have a second state w. One step, with theta the threshold:
 *   h = charge(v, w, x);  s = [h >= theta];  v = reset(h, s);  w = next(w, h, s);
 *   y = s, or output(h)
 * and during refractory_steps after a spike: h = v, s = 0, v stays. Backward, t downwards:
 *   dh = fired(ds, dv, dw);  dx, dv(t-1), dw(t-1) = charged(dh)
 * (docs/equations.md, Serial neurons; reference twin: reference_serial.c).
 *
 *   SERIAL_CHARGE(m, s, x, t)           h; needed. m: serial_cell, s: serial_state before the step
 *   SERIAL_CHARGED(m, k, dh, f)         needed. Sets f->dx, f->dv, f->dw from dh, adds to f->sum
 *   SERIAL_FIRED(m, k, ds, f)           dL/dh of spike and reset; default serial_fired
 *   SERIAL_DIRECT(m, k, ds, f)          dL/dh that does not go through them; default 0
 *   SERIAL_RESET(m, h, spike)           v; default serial_reset
 *   SERIAL_THRESHOLD(m, s)              default m->threshold
 *   SERIAL_NEXT(m, s, x, h, spike)      w; only models with a second state
 *   SERIAL_START_W(r)                   w before the first step; default 0
 *   SERIAL_OUTPUT(m, h)                 y of models that put out values
 *   SERIAL_SUMS                         parameters of the model whose gradient f->sum collects
 *   SERIAL_STEP_SUM                     one parameter more, for every step; f->step is its gradient
 *   SERIAL_LEARNED(m)                   loads m->p from the model's parameters
 *   SERIAL_STORES                       1: backward needs w or the threshold of every step
 *   SERIAL_SILENT                       1: never fires, is never reset; y = v = h
 *   SERIAL_START_V(r)                   v before the first step; default v_init
 *
 * The simple models have no second state and one threshold: forward keeps v of SERIAL_BLOCKS blocks
 * of LANES channels in registers, backward h and g of them in scratch. All others, and any model
 * with a learned threshold, refractory steps, counts or drawn spikes, go block by block and keep
 * all that the backward scan asks for. Where only output and the usual reset see the spike
 * (SERIAL_PLAIN), s may be a count or drawn, as the surrogate says: serial_spikes.
 *
 * A call does the steps of c->t. State enters a span through c->before and leaves through c->after;
 * gradients and the sums of parameters come from the span behind and go to the one before through
 * c->flow, as the floats they are: their double sums take them once, after the first step. */
#ifndef WORKER_ISA_SERIAL_H
#define WORKER_ISA_SERIAL_H

#include "worker/neurons/isa_serial_types.h"

#define SERIAL_BLOCKS 4
/* Blocks side by side: unrolled, so that what they hold stays in registers. */
#ifdef __SANITIZE_ADDRESS__ /* checks each access: unrolled, that takes minutes to compile */
#define SERIAL_EACH(j, blocks) for (size_t j = 0; j < (blocks); j++)
#else
#define SERIAL_EACH(j, blocks) _Pragma("GCC unroll 4") for (size_t j = 0; j < (blocks); j++)
#endif

/* Only output and the usual reset see the spike: it may be a count, or drawn. */
#if defined(SERIAL_SILENT) || defined(SERIAL_RESET) || defined(SERIAL_THRESHOLD) || \
    defined(SERIAL_FIRED) || defined(SERIAL_OUTPUT)
#define SERIAL_PLAIN 0
#else
#define SERIAL_PLAIN 1
#endif
#ifdef SERIAL_SILENT
#define SERIAL_RESET(m, h, spike) ((void)(spike), h)
#define SERIAL_THRESHOLD(m, s) ((void)(m), (void)(s), lanes_set(0.0f)) /* of the trace h - theta */
#define SERIAL_OUTPUT(m, h) ((void)(m), h)
#define SERIAL_FIRED(m, k, ds, f) ((void)(ds), (f)->dv)
#define SERIAL_DIRECT(m, k, ds, f) (ds)
#else
#define SERIAL_SILENT 0
#endif
#ifndef SERIAL_FIRED
#define SERIAL_FIRED serial_fired
#endif
#ifdef SERIAL_DIRECT
#define SERIAL_IS_DIRECT 1
#else
#define SERIAL_IS_DIRECT 0
#define SERIAL_DIRECT(m, k, ds, f) ((void)(ds), lanes_set(0.0f))
#endif
#ifndef SERIAL_RESET
#define SERIAL_RESET serial_reset
#endif
#ifndef SERIAL_THRESHOLD
#define SERIAL_THRESHOLD(m, s) ((void)(s), (m)->threshold)
#endif
#ifdef SERIAL_NEXT
#define SERIAL_SECOND 1
#else
#define SERIAL_SECOND 0
#define SERIAL_NEXT(m, s, x, h, spike) ((void)(x), (s).w)
#endif
#ifndef SERIAL_START_V
#define SERIAL_START_V(r) ((r)->n->v_init)
#endif
#ifndef SERIAL_START_W
#define SERIAL_START_W(r) ((void)(r), 0.0f)
#endif
#ifndef SERIAL_OUTPUT
#define SERIAL_OUTPUT(m, h) ((void)(m), h)
#endif
#ifndef SERIAL_SUMS
#define SERIAL_SUMS 0
#endif
#ifndef SERIAL_STEP_SUM
#define SERIAL_STEP_SUM 0
#endif
#ifndef SERIAL_LEARNED
#define SERIAL_LEARNED(m) ((void)(m))
#endif
#ifndef SERIAL_STORES
#define SERIAL_STORES 0
#endif

/* ---- one step -------------------------------------------------------------------------------- */
struct serial_fire {
    lanes_f h, theta;
    lanes_f fired; /* spikes, where serial_is_graded */
    lanes_mask spike, resting;
};

/* The surrogate fires counts, or draws spikes. */
LANES_INLINE bool serial_is_graded(const struct neuron *n)
{
    return SERIAL_PLAIN && n->surrogate.firing != SPEC_FIRES_STEP;
}

LANES_INLINE bool serial_counts(const struct neuron *n)
{
    return SERIAL_PLAIN && n->surrogate.firing == SPEC_FIRES_COUNT;
}

/* Moves s and the steps that a cell still rests; whole: refractory steps are looked at. */
LANES_INLINE struct serial_fire serial_step(const struct serial_cell *m, struct serial_state *s,
                                            lanes_f *rest, lanes_f x, size_t t, bool whole)
{
    const struct serial_state before = *s;
    const bool rests = whole && m->n->refractory > 0.0f;
    struct serial_fire f = { .h = SERIAL_CHARGE(m, before, x, t),
                             .theta = SERIAL_THRESHOLD(m, before) };
    (void)t;
    if (rests) {
        f.resting = lanes_gt(*rest, lanes_set(0.0f));
        f.h = lanes_select(f.resting, before.v, f.h);
    }
    f.spike = SERIAL_SILENT ? lanes_first(0) : lanes_ge(f.h, f.theta);
    if (whole && serial_is_graded(m->n)) {
        f.fired = serial_spikes(m, serial_argument(m->n, f.h, f.theta), t);
        f.spike = lanes_gt(f.fired, lanes_set(0.0f));
    }
    if (rests) {
        f.spike = lanes_without(f.spike, f.resting);
        f.fired = lanes_select(f.resting, lanes_set(0.0f), f.fired);
    }
    s->w = SERIAL_NEXT(m, before, x, f.h, f.spike);
    s->v = SERIAL_RESET(m, f.h, f.spike);
    if (whole && serial_counts(m->n))
        s->v = lanes_select(f.spike, f.h - f.fired * f.theta, f.h);
    if (rests) {
        s->v = lanes_select(f.resting, before.v, s->v);
        *rest = lanes_max(*rest - 1.0f, lanes_set(0.0f));
        *rest = lanes_select(f.spike, lanes_set(m->n->refractory), *rest);
    }
    return f;
}

LANES_INLINE struct serial_state serial_start(const struct serial_cell *m)
{
    const struct neuron_cells *c = m->c;
    struct serial_state s = { lanes_set(SERIAL_START_V(m->r)), lanes_set(SERIAL_START_W(m->r)) };
    if (c->v0.data != NULL) s.v = lanes_load(plane_at(&c->v0, 0, m->at, m->block));
    if (c->w0.data != NULL) s.w = lanes_load(plane_at(&c->w0, 0, m->at, m->block));
    if (c->before.data == NULL) return s;
    s.v = lanes_load(plane_at(&c->before, 0, m->at, m->block));
    if (SERIAL_SECOND) s.w = lanes_load(plane_at(&c->before, 1, m->at, m->block));
    return s;
}

/* Steps that the cells still rest: the last plane of a state. */
LANES_INLINE lanes_f serial_rest(const struct serial_cell *m)
{
    if (m->c->before.data == NULL || m->n->refractory == 0.0f) return lanes_set(0.0f);
    return lanes_load(plane_at(&m->c->before, 1 + SERIAL_SECOND, m->at, m->block));
}

LANES_INLINE void serial_keep(const struct serial_cell *m, const struct serial_state *s,
                              lanes_f rest)
{
    const struct neuron_plane *to = &m->c->after;
    if (to->data == NULL) return;
    lanes_store(plane_at(to, 0, m->at, m->block), s->v);
    if (SERIAL_SECOND) lanes_store(plane_at(to, 1, m->at, m->block), s->w);
    if (m->n->refractory > 0.0f)
        lanes_store(plane_at(to, 1 + SERIAL_SECOND, m->at, m->block), rest);
}

LANES_INLINE void serial_cell_at(struct serial_cell *m, const struct neuron_run *r,
                                 const struct neuron_cells *c, struct pixel at, size_t block,
                                 bool whole)
{
    serial_place(m, r, c, at, block);
    m->threshold = whole && r->n->learn_threshold ? serial_learned(m, r->n->n_params - 1, 0)
                                                  : lanes_set(r->n->v_threshold);
    SERIAL_LEARNED(m);
}

/* ---- forward --------------------------------------------------------------------------------- */
/* What a step leaves besides spikes. Padding channels of an output are 0 for who reads it. */
LANES_INLINE void serial_leave(const struct serial_cell *m, const struct serial_fire *f,
                               const struct serial_state *s, size_t t)
{
    const struct neuron_cells *c = m->c;
    if (c->y.data != NULL)
        lanes_store(plane_at(&c->y, t, m->at, m->block),
                    lanes_select(m->valid, SERIAL_OUTPUT(m, f->h), lanes_set(0.0f)));
    if (c->u.data != NULL) lanes_store(plane_at(&c->u, t, m->at, m->block), f->h - f->theta);
    if (c->v.data != NULL) lanes_store(plane_at(&c->v, t, m->at, m->block), s->v);
    if (c->w.data != NULL) lanes_store(plane_at(&c->w, t, m->at, m->block), s->w);
}

/* A byte a channel. The first block of a column clears the padding behind the last one. */
LANES_INLINE void serial_leave_counts(const struct serial_cell *m, lanes_f fired, size_t t)
{
    const struct neuron_cells *c = m->c;
    if (c->counts == NULL) return;
    uint8_t *to = c->counts + t * c->spikes_time + m->at.y * c->spikes_row +
                  m->at.x * c->spikes_pixel + m->block * LANES;
    if (m->block % CELL_BLOCKS == 0) memset(to, 0, NEURON_COLUMN);
    fired = lanes_select(m->valid, fired, lanes_set(0.0f));
    for (size_t i = 0; i < LANES; i++) to[i] = (uint8_t)fired[i];
}

/* Blocks [j0, j0 + blocks) of word w; blocks is a constant where this is expanded. */
LANES_INLINE void serial_column_forward(const struct neuron_run *r, const struct neuron_cells *c,
                                        struct pixel at, size_t w, size_t j0, size_t blocks,
                                        bool whole)
{
    const uint64_t valid = cells_valid(c, w);
    const bool leaves = c->y.data != NULL || c->u.data != NULL || c->v.data != NULL ||
                        c->w.data != NULL;
    struct serial_cell m[SERIAL_BLOCKS];
    struct serial_state s[SERIAL_BLOCKS];
    lanes_f rest[SERIAL_BLOCKS];
    SERIAL_EACH(j, blocks)
    {
        serial_cell_at(&m[j], r, c, at, w * CELL_BLOCKS + j0 + j, whole);
        s[j] = serial_start(&m[j]);
        rest[j] = serial_rest(&m[j]);
    }
    const float *x_at[SERIAL_BLOCKS];
    SERIAL_EACH(j, blocks) x_at[j] = plane_at(&c->x, 0, at, m[j].block);
    for (size_t t = c->t.begin; t < c->t.end; t++) {
        uint64_t word = 0;
        SERIAL_EACH(j, blocks)
        {
            const float *from = x_at[j] + t * c->x.time;
            lanes_f x = lanes_load(from);
            cells_fetch(from);
            const struct serial_fire f =
                serial_step(&m[j], &s[j], &rest[j], x, c->first + t, whole);
            word |= lanes_word(f.spike) << ((j0 + j) * LANES);
            if (leaves) serial_leave(&m[j], &f, &s[j], t);
            if (whole && serial_counts(r->n)) serial_leave_counts(&m[j], f.fired, t);
        }
        if (c->spikes == NULL) continue;
        uint64_t *to = spikes_at(c, t, at, w);
        *to = (word & valid) | (j0 == 0 ? 0 : *to);
    }
    SERIAL_EACH(j, blocks) serial_keep(&m[j], &s[j], rest[j]);
}

LANES_INLINE bool serial_is_whole(const struct neuron *n)
{
    return SERIAL_STORES || n->learn_threshold || n->refractory > 0.0f || serial_is_graded(n);
}

/* Blocks that are walked side by side where so many are left. */
LANES_INLINE size_t serial_abreast(size_t left)
{
    return left >= SERIAL_BLOCKS ? SERIAL_BLOCKS : left >= 2 ? 2 : 1;
}

/* The walks copy what the loops read: the compiler then knows that no store changes it. */
static void serial_forward(const struct neuron_run *run, const struct neuron_cells *cells)
{
    const struct neuron n = *run->n;
    const struct neuron_cells copy = *cells, *c = &copy;
    struct neuron_run local = *run;
    const struct neuron_run *r = &local;
    local.n = &n;
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++) {
            const size_t blocks = cells_blocks(c, w);
            if (serial_is_whole(&n)) {
                for (size_t j = 0; j < blocks; j++)
                    serial_column_forward(r, c, at, w, j, 1, true);
                continue;
            }
            for (size_t j = 0; j < blocks; j += serial_abreast(blocks - j))
                switch (serial_abreast(blocks - j)) {
                case 1: serial_column_forward(r, c, at, w, j, 1, false); break;
                case 2: serial_column_forward(r, c, at, w, j, 2, false); break;
                default: serial_column_forward(r, c, at, w, j, SERIAL_BLOCKS, false); break;
                }
        }
}

/* ---- backward: the forward pass again -------------------------------------------------------- */
/* Scratch of one block of LANES channels: step t.begin + i of a plane is at plane + i * stride. The
 * simple models have h and g only. */
struct serial_planes {
    float *h, *g;                /* potential when it fires; the surrogate's derivative */
    float *u, *v, *w, *resting;  /* what that is taken of; states before the step; 1 or 0 */
    float *step;                 /* gradient of the parameter of every step */
    float *fired;                /* spikes, where serial_is_graded */
    size_t stride;
};

/* h and g of 4 blocks; or h, g, u, v, w, resting, step, fired of one block and the sums of
 * SERIAL_STEP_SUM (16 doubles a step). */
static size_t serial_scratch_floats(const struct neuron *n)
{
    return n->t * (serial_is_whole(n) ? 8 * LANES + 2 * LANES_ALL : 2 * NEURON_COLUMN);
}

/* Blocks of simple models: h[T][blocks][LANES] only. */
LANES_INLINE void serial_recompute(const struct neuron_run *r, const struct neuron_cells *c,
                                   struct pixel at, size_t first, size_t blocks, float *h)
{
    struct serial_cell m[SERIAL_BLOCKS];
    struct serial_state s[SERIAL_BLOCKS];
    SERIAL_EACH(j, blocks)
    {
        serial_cell_at(&m[j], r, c, at, first + j, false);
        s[j] = serial_start(&m[j]);
    }
    const float *x_at[SERIAL_BLOCKS], *ds_at[SERIAL_BLOCKS];
    SERIAL_EACH(j, blocks)
    {
        x_at[j] = plane_at(&c->x, 0, at, m[j].block);
        ds_at[j] = plane_at(&c->ds, 0, at, m[j].block);
    }
    for (size_t t = c->t.begin; t < c->t.end; t++) {
        SERIAL_EACH(j, blocks)
        {
            const float *from = x_at[j] + t * c->x.time;
            lanes_f x = lanes_load(from), rest;
            const struct serial_fire f = serial_step(&m[j], &s[j], &rest, x, t, false);
            lanes_store(h + ((t - c->t.begin) * blocks + j) * LANES, f.h);
            cells_fetch(from);
            cells_fetch(ds_at[j] + t * c->ds.time);
        }
    }
}

LANES_INLINE void serial_recompute_whole(const struct serial_cell *m, const struct serial_planes *p)
{
    struct serial_state s = serial_start(m);
    lanes_f rest = serial_rest(m);
    for (size_t t = m->c->t.begin; t < m->c->t.end; t++) {
        const size_t at = (t - m->c->t.begin) * LANES;
        lanes_store(p->v + at, s.v);
        lanes_store(p->w + at, s.w);
        lanes_f x = lanes_load(plane_at(&m->c->x, t, m->at, m->block));
        lanes_store(p->resting + at, lanes_select(lanes_gt(rest, lanes_set(0.0f)), lanes_set(1.0f),
                                                  lanes_set(0.0f)));
        const struct serial_fire f = serial_step(m, &s, &rest, x, t, true);
        lanes_store(p->h + at, f.h);
        const bool graded = serial_is_graded(m->n);
        lanes_store(p->u + at, graded ? serial_argument(m->n, f.h, f.theta) : f.h - f.theta);
        if (graded) lanes_store(p->fired + at, f.fired);
    }
}

/* ---- backward: the scan ---------------------------------------------------------------------- */
LANES_INLINE struct serial_seen serial_look(const struct serial_cell *m,
                                            const struct serial_planes *p, size_t t, bool whole)
{
    const size_t i = t - m->c->t.begin;
    struct serial_seen k = { .h = lanes_load(p->h + i * p->stride),
                             .g = lanes_load(p->g + i * p->stride), .t = t };
    k.x = lanes_load(plane_at(&m->c->x, t, m->at, m->block));
    if (!whole) {
        k.spike = lanes_ge(k.h, m->threshold);
        k.v = serial_start(m).v;
        if (i == 0) return k;
        lanes_f earlier = lanes_load(p->h + (i - 1) * p->stride);
        k.v = SERIAL_RESET(m, earlier, lanes_ge(earlier, m->threshold));
        return k;
    }
    k.v = lanes_load(p->v + i * LANES);
    k.w = lanes_load(p->w + i * LANES);
    k.spike = lanes_ge(lanes_load(p->u + i * LANES), lanes_set(0.0f));
    if (serial_is_graded(m->n)) {
        k.fired = lanes_load(p->fired + i * LANES);
        k.spike = lanes_gt(k.fired, lanes_set(0.0f));
    }
    k.resting = lanes_gt(lanes_load(p->resting + i * LANES), lanes_set(0.0f));
    k.spike = lanes_without(k.spike, k.resting);
    k.g = lanes_select(k.resting, lanes_set(0.0f), k.g);
    return k;
}

/* dL/dh of spike and reset. */
LANES_INLINE lanes_f serial_spiked(const struct serial_cell *m, const struct serial_seen *k,
                                   lanes_f ds, struct serial_flow *f, bool whole)
{
    if (whole && serial_counts(m->n)) return serial_counted(m, k, ds, f);
    return SERIAL_FIRED(m, k, ds, f);
}

/* From gradients after the step in f to those before it. A resting cell passes dv on. */
LANES_INLINE void serial_back(const struct serial_cell *m, const struct serial_seen *k, lanes_f ds,
                              struct serial_flow *f, bool whole)
{
    if (!whole || m->n->refractory == 0.0f) {
        lanes_f dh = serial_spiked(m, k, ds, f, whole);
        if (SERIAL_IS_DIRECT) dh = dh + SERIAL_DIRECT(m, k, ds, f);
        SERIAL_CHARGED(m, k, dh, f);
        return;
    }
    const lanes_f zero = lanes_set(0.0f), dv = f->dv;
    f->dv = lanes_select(k->resting, zero, dv);
    lanes_f dh = serial_spiked(m, k, ds, f, whole);
    if (SERIAL_IS_DIRECT) dh = dh + SERIAL_DIRECT(m, k, ds, f);
    lanes_f kept = lanes_select(k->resting, dv + dh, zero);
    SERIAL_CHARGED(m, k, lanes_select(k->resting, zero, dh), f);
    f->dv = lanes_select(k->resting, kept, f->dv);
}

/* The planes of c->flow: gradients of the state, then the sums of parameters. */
LANES_INLINE struct serial_flow serial_arrive(const struct serial_cell *m)
{
    const struct neuron_plane *from = &m->c->flow;
    struct serial_flow f = { .dv = lanes_set(0.0f) };
    if (from->data == NULL || m->c->t.end == m->n->t) return f;
    size_t i = 0;
    f.dv = lanes_load(plane_at(from, i++, m->at, m->block));
    if (SERIAL_SECOND) f.dw = lanes_load(plane_at(from, i++, m->at, m->block));
    for (int k = 0; k < SERIAL_SUMS; k++)
        f.sum[k] = lanes_load(plane_at(from, i++, m->at, m->block));
    if (m->n->learn_threshold) f.dtheta = lanes_load(plane_at(from, i, m->at, m->block));
    return f;
}

LANES_INLINE void serial_pass_on(const struct serial_cell *m, const struct serial_flow *f)
{
    const struct neuron_plane *to = &m->c->flow;
    size_t i = 0;
    lanes_store(plane_at(to, i++, m->at, m->block), f->dv);
    if (SERIAL_SECOND) lanes_store(plane_at(to, i++, m->at, m->block), f->dw);
    for (int k = 0; k < SERIAL_SUMS; k++)
        lanes_store(plane_at(to, i++, m->at, m->block), f->sum[k]);
    if (m->n->learn_threshold) lanes_store(plane_at(to, i, m->at, m->block), f->dtheta);
}

/* After the first step of all. */
LANES_INLINE void serial_finish(const struct serial_cell *m, const struct serial_flow *f,
                                struct serial_sums *sums, bool whole)
{
    const struct neuron_cells *c = m->c;
    if (c->dv0.data != NULL) lanes_store(plane_at(&c->dv0, 0, m->at, m->block), f->dv);
    if (c->dw0.data != NULL) lanes_store(plane_at(&c->dw0, 0, m->at, m->block), f->dw);
    for (int i = 0; i < SERIAL_SUMS; i++) serial_add(m, (size_t)i, 0, f->sum[i], &sums->each[i]);
    if (whole && m->n->learn_threshold)
        serial_add(m, m->n->n_params - 1, 0, f->dtheta, &sums->threshold);
}

/* One step of one block. h[t] is overwritten with dx[t] when the input is one step for all: those
 * are summed afterwards, t ascending, which takes all of them. */
LANES_INLINE void serial_step_backward(const struct serial_cell *m, const struct serial_planes *p,
                                       struct serial_flow *f, size_t i, bool whole)
{
    const struct neuron_cells *c = m->c;
    const size_t t = c->t.begin + i;
    const struct serial_seen k = serial_look(m, p, t, whole);
    if (c->dv.data != NULL) f->dv = f->dv + lanes_load(plane_at(&c->dv, t, m->at, m->block));
    serial_back(m, &k, lanes_load(plane_at(&c->ds, t, m->at, m->block)), f, whole);
    f->dx = lanes_select(m->valid, f->dx, lanes_set(0.0f));
    if (SERIAL_STEP_SUM) lanes_store(p->step + i * LANES, f->step);
    if (c->dx.data == NULL) return;
    lanes_store(c->dx.time == 0 ? p->h + i * p->stride : plane_at(&c->dx, t, m->at, m->block),
                f->dx);
}

/* After the scan: what has to be added over the steps. */
LANES_INLINE void serial_block_sums(const struct serial_cell *m, const struct serial_planes *p,
                                    const struct serial_flow *f, struct serial_sums *sums,
                                    bool whole)
{
    const struct neuron_cells *c = m->c;
    const size_t steps = c->t.end - c->t.begin;
    if (c->dx.data != NULL && c->dx.time == 0) {
        lanes_f total = lanes_set(0.0f);
        for (size_t i = 0; i < steps; i++) total = total + lanes_load(p->h + i * p->stride);
        lanes_store(plane_at(&c->dx, 0, m->at, m->block), total);
    }
    for (size_t i = 0; SERIAL_STEP_SUM && i < steps; i++)
        serial_add(m, SERIAL_SUMS, c->t.begin + i, lanes_load(p->step + i * LANES),
                   &sums->steps[c->t.begin + i]);
    if (c->t.begin == 0) serial_finish(m, f, sums, whole);
    else serial_pass_on(m, f);
}

/* One block from the last step to the first. */
LANES_INLINE void serial_block_backward(const struct serial_cell *m, const struct serial_planes *p,
                                        struct serial_sums *sums, bool whole)
{
    struct serial_flow f = serial_arrive(m);
    for (size_t i = m->c->t.end - m->c->t.begin; i-- > 0;) serial_step_backward(m, p, &f, i, whole);
    serial_block_sums(m, p, &f, sums, whole);
}

/* Two blocks side by side: while the chain of one waits for its own later step the other goes on.
 */
LANES_INLINE void serial_pair_backward(const struct serial_cell *m, const struct serial_planes *p,
                                       const struct serial_cell *m1, const struct serial_planes *p1,
                                       struct serial_sums *sums)
{
    struct serial_flow f = serial_arrive(m), f1 = serial_arrive(m1);
    for (size_t i = m->c->t.end - m->c->t.begin; i-- > 0;) {
        serial_step_backward(m, p, &f, i, false);
        serial_step_backward(m1, p1, &f1, i, false);
    }
    serial_block_sums(m, p, &f, sums, false);
    serial_block_sums(m1, p1, &f1, sums, false);
}

/* Blocks [first, first + blocks) of a pixel. */
LANES_INLINE void serial_column_backward(const struct neuron_run *r, const struct neuron_cells *c,
                                         const struct surrogate *of, struct pixel at, size_t first,
                                         size_t blocks, struct serial_sums *sums)
{
    const struct neuron *n = r->n;
    float *h = r->scratch, *g = h + n->t * NEURON_COLUMN;
    const size_t stride = blocks * LANES;
    serial_recompute(r, c, at, first, blocks, h);
    if (!SERIAL_SILENT) of->gradient(of->k, h, n->v_threshold, g, (c->t.end - c->t.begin) * stride);
    for (size_t j = 0; j < blocks; j += 2) {
        struct serial_cell m, m1;
        const struct serial_planes p = { .h = h + j * LANES, .g = g + j * LANES, .stride = stride };
        const struct serial_planes p1 = { .h = p.h + LANES, .g = p.g + LANES, .stride = stride };
        serial_cell_at(&m, r, c, at, first + j, false);
        if (j + 1 == blocks) {
            serial_block_backward(&m, &p, sums, false);
            continue;
        }
        serial_cell_at(&m1, r, c, at, first + j + 1, false);
        serial_pair_backward(&m, &p, &m1, &p1, sums);
    }
}

LANES_INLINE void serial_block_backward_whole(const struct neuron_run *r,
                                              const struct neuron_cells *c,
                                              const struct surrogate *of, struct pixel at,
                                              size_t block, struct serial_sums *sums)
{
    const struct neuron *n = r->n;
    const size_t plane = n->t * LANES;
    float *s = r->scratch;
    const struct serial_planes p = { .h = s, .g = s + plane, .u = s + 2 * plane,
                                     .v = s + 3 * plane, .w = s + 4 * plane,
                                     .resting = s + 5 * plane, .step = s + 6 * plane,
                                     .fired = s + 7 * plane, .stride = LANES };
    struct serial_cell m;
    serial_cell_at(&m, r, c, at, block, true);
    serial_recompute_whole(&m, &p);
    of->gradient(of->k, p.u, 0.0f, p.g, (c->t.end - c->t.begin) * LANES);
    serial_block_backward(&m, &p, sums, true);
}

/* Parameters of the layer have collected their sums in sums; all others are in c->sums already. */
static inline void serial_hand_in(const struct neuron *n, const struct neuron_cells *c,
                                  const struct serial_sums *sums)
{
    if (n->scope != SPEC_SCOPE_LAYER) return;
    for (int i = 0; i < SERIAL_SUMS; i++)
        c->sums[n->params[i].sums] += lanes_sum_total(&sums->each[i]);
    if (n->learn_threshold)
        c->sums[n->params[n->n_params - 1].sums] += lanes_sum_total(&sums->threshold);
    for (size_t t = 0; SERIAL_STEP_SUM && t < n->t; t++)
        c->sums[n->params[SERIAL_SUMS].sums + t] += lanes_sum_total(&sums->steps[t]);
}

static void serial_backward(const struct neuron_run *run, const struct neuron_cells *cells)
{
    const struct neuron n = *run->n;
    const struct neuron_cells copy = *cells, *c = &copy;
    struct neuron_run local = *run;
    const struct neuron_run *r = &local;
    local.n = &n;
    const struct surrogate *of = &run->n->surrogate; /* a call with that of n could change n */
    struct serial_sums sums = { 0 };
    if (SERIAL_STEP_SUM) {
        sums.steps = (struct lanes_sum *)(void *)(run->scratch + 8 * n.t * LANES);
        memset(sums.steps, 0, n.t * sizeof sums.steps[0]);
    }
    for (struct pixel at = { 0, 0 }; at.y < c->rows; at = pixel_next(c, at))
        for (size_t w = 0; w * NEURON_COLUMN < c->channels; w++) {
            const size_t first = w * CELL_BLOCKS, blocks = cells_blocks(c, w);
            if (serial_is_whole(&n)) {
                for (size_t j = 0; j < blocks; j++)
                    serial_block_backward_whole(r, c, of, at, first + j, &sums);
                continue;
            }
            for (size_t j = 0; j < blocks; j += serial_abreast(blocks - j))
                switch (serial_abreast(blocks - j)) {
                case 1: serial_column_backward(r, c, of, at, first + j, 1, &sums); break;
                case 2: serial_column_backward(r, c, of, at, first + j, 2, &sums); break;
                default:
                    serial_column_backward(r, c, of, at, first + j, SERIAL_BLOCKS, &sums);
                    break;
                }
        }
    serial_hand_in(&n, c, &sums);
}

/* What every model's table says of the above. */
#define SERIAL_OPS                                                                                 \
    .scratch_floats = serial_scratch_floats, .forward = serial_forward,                            \
    .backward = serial_backward, .states = 1 + SERIAL_SECOND, .sums = SERIAL_SUMS,                 \
    .membrane = true, .plain = SERIAL_PLAIN

#endif
