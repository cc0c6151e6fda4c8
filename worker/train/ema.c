/* ema: see ema.h. */
#include "worker/train/ema.h"

#include "common/mem.h"

#include <string.h>

int ema_init(struct ema *a, struct net *n, double decay, struct err *e)
{
    size_t weights, buffers;
    *a = (struct ema){ .decay = decay };
    if (decay == 0) return 0;
    (void)net_weights(n, &weights);
    (void)net_buffers(n, &buffers);
    a->block = mem_calloc(weights + buffers + 16, sizeof a->block[0]);
    if (a->block == NULL) return err_set(e, ERR_NOMEM, "%zu averaged values", weights + buffers);
    a->weights = (float *)mem_align((size_t)a->block, 64);
    a->buffers = a->weights + weights;
    return 0;
}

void ema_deinit(struct ema *a)
{
    mem_free(a->block);
    *a = (struct ema){ 0 };
}

float *ema_block(const struct ema *a, const struct net_param *p)
{
    return p->role == NET_BUFFER ? a->buffers : a->weights;
}

void ema_update(struct ema *a, struct net *n)
{
    if (a->decay == 0) return;
    const struct kernel_ctx *kc = net_kernel_ctx(n);
    const float keep = (float)a->decay, fresh = (float)(1.0 - a->decay);
    size_t weights, buffers;
    const float *w = net_weights(n, &weights), *b = net_buffers(n, &buffers);
    if (a->begun) {
        f32_average(kc, a->weights, w, keep, fresh, weights);
        f32_average(kc, a->buffers, b, keep, fresh, buffers);
        return;
    }
    memcpy(a->weights, w, weights * sizeof w[0]);
    memcpy(a->buffers, b, buffers * sizeof b[0]);
    a->begun = true;
}

static void swap(float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float keep = x[i];
        x[i] = y[i];
        y[i] = keep;
    }
}

void ema_swap(struct ema *a, struct net *n)
{
    size_t weights, buffers;
    if (!a->begun) return;
    float *w = net_weights(n, &weights), *b = net_buffers(n, &buffers);
    swap(a->weights, w, weights);
    swap(a->buffers, b, buffers);
}
