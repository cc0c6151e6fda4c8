/* ema: a running average of a net's weights and running statistics (train.ema). Owned by the
 * trainer; main thread, the average itself is one pass over the pool. */
#ifndef WORKER_EMA_H
#define WORKER_EMA_H

#include "common/err.h"
#include "worker/nets/net.h"

struct ema {
    double decay;             /* 0: there is none, and nothing below is used */
    float *weights, *buffers; /* inside block; laid out as net_weights and net_buffers */
    float *block;
    bool begun;               /* holds an average */
};
/* Errors: ERR_NOMEM. */
int ema_init(struct ema *a, struct net *n, double decay, struct err *e);
void ema_deinit(struct ema *a); /* safe on a zeroed one and when repeated */
/* After an update: the first one's values, then decay * average + (1 - decay) * value. */
void ema_update(struct ema *a, struct net *n);
/* Net and average change places; a second call takes that back. Nothing before the first update. */
void ema_swap(struct ema *a, struct net *n);
/* Block that holds the average of parameter i. */
float *ema_block(const struct ema *a, const struct net_param *p);

#endif
