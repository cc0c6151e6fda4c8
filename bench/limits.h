/* limits: what this machine can do at most, measured in the same run as what is held against it.
 * Called by bench_kernels. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include "worker/kernels/kernels.h"

struct limits {
    double flops;     /* a second, of fused multiply-adds in registers; 0: not known */
    double adds;      /* floats added a second, one vector a cycle and thread */
    double bandwidth; /* bytes a second, of a triad over memory: read twice, written once */
    double copy;      /* bytes a second, of a copy */
    double cycles;    /* a second, of one thread while all of them work */
};
void limits_measure(enum isa isa, struct threads *threads, struct limits *out);

#endif
