/* fused: a neuron layer together with the batch norm in front of it and the max pooling behind it,
 * tile by tile of a sample while that is in cache: no memory holds what the batch norm puts out,
 * nor the gradient that the pooling hands back (design 5.3). nets/fusion.c says which layers;
 * called by neuron_layer on the main thread, the callbacks run on the pool's threads.
 *
 * The bits are those of the layers one by one, but for parameters of neurons whose sums are cut
 * where tiles are: shape alone decides about tiles. */
#ifndef WORKER_FUSED_H
#define WORKER_FUSED_H

#include "worker/layers/layer.h"

/* Whether neurons can normalise their input themselves, or route the gradient of their output. */
bool fused_takes_norm(const struct layer *norm);
bool fused_takes_pool(const struct layer *l, const struct layer *pool);
/* Chooses the tile and adds a thread's memory for it. norm, pool: NULL = there is none. */
void fused_plan(struct layer *l, const struct layer *norm, const struct layer *pool,
                struct layer_needs *needs);
/* Whether the sums of the batch norm's backward pass are made with the neurons'. */
bool fused_makes_sums(const struct layer *l, const struct step *s);

/* Neighbours of one call; NULL when the step names none. */
struct fused {
    const struct layer *l;
    const struct step *s;
    struct neuron_neighbours neighbours;
};
const struct neuron_neighbours *fused_forward(struct fused *f, const struct layer *l,
                                              const struct step *s);
const struct neuron_neighbours *fused_backward(struct fused *f, const struct layer *l,
                                               const struct step *s);

#endif
