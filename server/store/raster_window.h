/* raster_window: a part of a spike raster, made as small as a screen: a cell counts the spikes of
 * the time-steps and neurons that it stands for, so that no spike disappears. Pure; any thread. */
#ifndef SERVER_RASTER_WINDOW_H
#define SERVER_RASTER_WINDOW_H

#include "common/err.h"

#include <stdint.h>

/* Time-steps [t0, t1) of neurons [n0, n1); an end of 0 is the raster's own. */
struct raster_window {
    int64_t t0, t1, n0, n1;
    int64_t max_w, max_h; /* cells: of time, of neurons */
};
struct raster_cut {
    struct raster_window window; /* with its ends */
    int64_t t_cell, n_cell;      /* time-steps and neurons of a cell */
    int64_t width, height;
    unsigned char *counts; /* [width][height], 255 = 255 or more; mem_free */
};
/* bits [T][ceil(N/8)], neuron n is bit n%8. Errors: ERR_INVALID (no such part; length does not
 * fit), ERR_NOMEM. */
int raster_window_cut(const unsigned char *bits, size_t length, int64_t t_count, int64_t n_count,
                      const struct raster_window *w, struct raster_cut *out, struct err *e);

#endif
