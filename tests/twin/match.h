/* match: the engine against the twin: outputs of every node, gradients, running statistics. */
#ifndef TEST_MATCH_H
#define TEST_MATCH_H

#include "tests/twin/twin_case.h"
#include "worker/nets/net.h"

struct match_engine { /* how the engine runs */
    enum isa isa;
    size_t threads, shards;
    size_t span_steps; /* of one call of a layer; 0: all */
    enum kernel_path path;
    enum net_recompute recompute;
    bool exact;
    struct kernel_trace *trace; /* counts the kernels that run; NULL: nobody asks */
};
struct match {
    double worst; /* error / limit, of floats; infinite for a wrong spike, name or size */
    char what[SPEC_PATH_MAX + 120];
    size_t compared; /* tensors */
};

/* A net with the twin's parameters and input that has run forward and, while training, backward. */
struct net *match_run(const struct twin_case *c, const struct twin_world *w,
                      const struct match_engine *e);
/* The twin must have run the same step, commit and all. Spikes are equal; a float may be off by
 * 1e-5 of its value and `tolerance` of the largest in its tensor (gradients: in any tensor of its
 * layer). */
struct match match_compare(const struct twin_world *w, struct net *n, double tolerance);
/* NULL, or what differs in a bit: the output, the input's gradient, or the parameter whose gradient
 * (buffer: value) does. */
const char *match_bits(struct net *a, struct net *b);

#endif
