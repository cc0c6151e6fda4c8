/* twin_case: a network of a test, as JSON, with numbers for its parameters and input; its twin and
 * the spec that the engine builds from. */
#ifndef TEST_TWIN_CASE_H
#define TEST_TWIN_CASE_H

#include "tests/twin/twin.h"

enum twin_input { TWIN_FLOATS, TWIN_REPEAT, TWIN_SPIKES };

struct twin_case {
    const char *name;
    const char *network; /* members of "network", with ' for ": "'layers':[{'type':'flatten'}]" */
    struct twin_size in;
    enum twin_input input;
    bool primitive; /* spikes are smooth, and no reset is detached */
    bool evaluation;
    uint64_t seed;
};
struct twin_world {
    struct spec spec;
    struct twin *tw;
    double *up; /* dL/d(output) */
};

/* Values are floats held as doubles. Hidden layers of thousands of features have `hidden` instead;
 * 0: as they are. */
struct twin_world *twin_world_make(const struct twin_case *c, int64_t hidden);
void twin_world_free(struct twin_world *w);

/* Moves parameters until no potential of any neuron lies within `margin` of its threshold, so that
 * float32 gives the same spikes; returns the smallest distance. */
double twin_world_settle(struct twin_world *w, double margin);

#endif
