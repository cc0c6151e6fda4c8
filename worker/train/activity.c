/* activity: see activity.h. */
#include "worker/train/activity.h"

#include "common/mem.h"

#include <math.h>

int activity_init(struct activity *a, const struct net *n, struct err *e)
{
    const size_t nodes = net_node_count(n);
    *a = (struct activity){ .spikes = mem_calloc(2 * nodes, sizeof a->spikes[0]) };
    if (a->spikes == NULL) return err_set(e, ERR_NOMEM, "activity of %zu layers", nodes);
    a->accumulates = a->spikes + nodes;
    return 0;
}

void activity_deinit(struct activity *a)
{
    mem_free(a->spikes);
    *a = (struct activity){ 0 };
}

void activity_add(struct activity *a, const struct net *n, size_t samples)
{
    for (size_t i = 0; i < net_node_count(n); i++) {
        a->spikes[i] += net_spike_count(n, i);
        a->accumulates[i] += net_accumulates(n, i);
    }
    a->samples += samples;
    a->steps += net_last_steps(n);
}

double activity_rate(const struct activity *a, const struct net *n, size_t node)
{
    struct net_node_info info;
    net_node(n, node, &info);
    const double cells = (double)a->steps * (double)(info.out.c * info.out.h * info.out.w);
    return cells > 0 ? (double)a->spikes[node] / cells : (double)NAN;
}
