/* isa_serial_types: what the template of the serial neurons (isa_serial.h) and the functions of a
 * model hand each other, and the parts of a step that most models share. Included by isa_serial.h
 * and, before it, by model files. */
#ifndef WORKER_ISA_SERIAL_TYPES_H
#define WORKER_ISA_SERIAL_TYPES_H

#define LANES_OF_REGISTER
#include "worker/neurons/isa_cells.h"

#include <stdbool.h>

#define SERIAL_LEARNED_MAX 7 /* parameters that a model has in lanes */

/* One block of LANES cells of a layer. */
struct serial_cell {
    const struct neuron_run *r;
    const struct neuron *n;
    const struct neuron_cells *c;
    struct pixel at;
    size_t block;
    size_t own; /* position of its values in a packed parameter; 0 when the layer has one value */
    lanes_mask valid;               /* no padding channels */
    lanes_f threshold;
    lanes_f p[SERIAL_LEARNED_MAX];  /* the model's, set by SERIAL_LEARNED */
};
struct serial_state {
    lanes_f v, w;
};
/* A step that is looked back at: state before it, input, potential when it fired, surrogate. */
struct serial_seen {
    lanes_f v, w, x, h, g;
    lanes_f fired; /* spikes, of surrogates that do not fire by a step */
    lanes_mask spike, resting;
    size_t t;
};
/* Gradients on their way back: dv, dw of the state after a step, then before it. */
struct serial_flow {
    lanes_f dv, dw, dx;
    lanes_f sum[SERIAL_LEARNED_MAX], dtheta; /* of parameters, over the steps so far */
    lanes_f step;                            /* of the parameter that every step has */
};
/* Sums of one sample for parameters that the layer has one value of. */
struct serial_sums {
    struct lanes_sum each[SERIAL_LEARNED_MAX], threshold, *steps;
};

/* Fills *m but for what is learned, in place: it is too large to be copied for every block. */
LANES_INLINE void serial_place(struct serial_cell *m, const struct neuron_run *r,
                               const struct neuron_cells *c, struct pixel at, size_t block)
{
    const struct neuron *n = r->n;
    m->r = r;
    m->n = n;
    m->c = c;
    m->at = at;
    m->block = block;
    m->own = 0;
    m->valid = lanes_first(c->channels > block * LANES ? c->channels - block * LANES : 0);
    if (n->scope == SPEC_SCOPE_LAYER) return;
    const size_t channels = cells_stored(n->c);
    m->own = c->block0 * NEURON_PADDED + block * LANES;
    if (n->scope_floats > channels)
        m->own += ((c->row0 + at.y) * n->w + c->pixel0 + at.x) * channels;
}

/* Values of parameter i, made by neuron_cell_param, for these cells at step t (0 without steps). */
LANES_INLINE lanes_f serial_learned(const struct serial_cell *m, size_t i, size_t t)
{
    const float *w = m->r->w[i] + t * m->n->scope_floats;
    return m->n->scope == SPEC_SCOPE_LAYER ? lanes_set(w[0]) : lanes_load(w + m->own);
}

/* Adds v to the gradient of parameter i at step t: to the layer's sum, or to the cells' own. */
LANES_INLINE void serial_add(const struct serial_cell *m, size_t i, size_t t, lanes_f v,
                             struct lanes_sum *layer)
{
    v = lanes_select(m->valid, v, lanes_set(0.0f));
    if (m->n->scope == SPEC_SCOPE_LAYER) {
        lanes_sum_add(layer, m->block, v);
        return;
    }
    lanes_add(m->c->sums + m->n->params[i].sums + t * m->n->scope_floats + m->own, v);
}

/* ---- the usual reset ------------------------------------------------------------------------- */
LANES_INLINE lanes_f serial_reset(const struct serial_cell *m, lanes_f h, lanes_mask spike)
{
    lanes_f after = m->n->soft ? h - m->threshold : lanes_set(m->n->v_reset);
    return lanes_select(spike, after, h);
}

/* dL/dh of spike and reset; a detached reset takes the spike for a constant. */
LANES_INLINE lanes_f serial_fired(const struct serial_cell *m, const struct serial_seen *k,
                                  lanes_f ds, struct serial_flow *f)
{
    const struct neuron *n = m->n;
    const lanes_f zero = lanes_set(0.0f);
    if (n->soft) {
        if (!n->detach) ds = ds - f->dv * m->threshold;
        lanes_f du = ds * k->g;
        f->dtheta = f->dtheta - du - lanes_select(k->spike, f->dv, zero);
        return du + f->dv;
    }
    if (!n->detach) ds = ds + f->dv * (n->v_reset - k->h);
    lanes_f du = ds * k->g;
    f->dtheta = f->dtheta - du;
    return du + lanes_select(k->spike, zero, f->dv);
}

/* ---- counts and drawn spikes ----------------------------------------------------------------- */
/* What the surrogate is a function of. */
LANES_INLINE lanes_f serial_argument(const struct neuron *n, lanes_f h, lanes_f theta)
{
    return n->surrogate.firing == SPEC_FIRES_COUNT ? h / theta : h - theta;
}

/* One number in [0, 1) a cell. Stream: element c + C (x + W y) with C as it is stored, sample,
 * step, layer and time-step. */
LANES_INLINE lanes_f serial_uniform(const struct serial_cell *m, size_t t)
{
    const struct neuron_draws *d = &m->c->draws;
    const size_t pixel = (m->c->row0 + m->at.y) * m->n->w + m->c->pixel0 + m->at.x;
    const size_t channel = m->c->block0 * NEURON_PADDED + m->block * LANES;
    const size_t element = pixel * cells_stored(m->n->c) + channel;
    lanes_f u = lanes_set(0.0f);
    for (size_t i = 0; i < LANES; i += 4) {
        uint32_t four[4];
        const uint32_t counter[4] = { (uint32_t)((element + i) / 4), (uint32_t)d->sample,
                                      (uint32_t)d->step, (uint32_t)(d->times + t) };
        philox4(d->key, counter, four);
        for (size_t j = 0; j < 4; j++) u[i + j] = (float)(four[j] >> 8) * 0x1p-24f;
    }
    return u;
}

/* How many spikes x gives: x to the nearest integer (ties to even) in [0, D], or 1 with
 * probability x. NaN: none. */
LANES_INLINE lanes_f serial_spikes(const struct serial_cell *m, lanes_f x, size_t t)
{
    const lanes_f zero = lanes_set(0.0f);
    if (m->n->surrogate.firing == SPEC_FIRES_BERNOULLI)
        return lanes_select(lanes_gt(x, serial_uniform(m, t)), lanes_set(1.0f), zero);
    const lanes_f magic = lanes_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = lanes_select(lanes_gt(x, zero), x, zero);
    return (lanes_min(x, lanes_set(m->n->surrogate.k[0])) + magic) - magic;
}

/* dL/dh of a count, s = round(h / theta) within its window, and its soft reset v = h - s theta. */
LANES_INLINE lanes_f serial_counted(const struct serial_cell *m, const struct serial_seen *k,
                                    lanes_f ds, struct serial_flow *f)
{
    if (!m->n->detach) ds = ds - f->dv * m->threshold;
    lanes_f du = ds * k->g / m->threshold;
    f->dtheta = f->dtheta - du * (k->h / m->threshold) - f->dv * k->fired;
    return du + f->dv;
}

/* A parameter's gradient where that is the sum of its cells. */
static inline void serial_gradient(const struct neuron_run *r, const double *sums, size_t i,
                                   float *dw)
{
    const struct neuron_param *p = &r->n->params[i];
    for (size_t j = 0; j < p->floats; j++) dw[j] = (float)sums[p->sums + j];
}

#endif
