/* measure: time and kernels of single nodes (net.h). The walks call it around their work on a node;
 * without a profile that is one comparison. One thread, nothing allocates. */
#include "common/clock.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/nets/net_internal.h"

#include <math.h>

void net_profile(struct net *n, struct kernel_trace *kernels)
{
    n->profile = kernels;
    for (size_t i = 0; kernels != NULL && i < n->n_nodes; i++)
        n->nodes[i].forward_ms = n->nodes[i].backward_ms = 0.0;
}

void net_node_times(const struct net *n, size_t node, double *forward_ms, double *backward_ms)
{
    *forward_ms = n->nodes[node].forward_ms;
    *backward_ms = n->nodes[node].backward_ms;
}

int64_t net_measure_begin(struct net *n, size_t i)
{
    if (n->profile == NULL) return 0;
    n->kc.trace = &n->profile[i];
    return clock_mono_ns();
}

void net_measure_end(struct net *n, int64_t start_ns, double *ms)
{
    if (n->profile == NULL) return;
    *ms += (double)(clock_mono_ns() - start_ns) * 1e-6;
    n->kc.trace = n->options.trace;
}
