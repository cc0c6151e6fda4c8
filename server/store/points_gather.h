/* points_gather: the points of many frames, series by series, so that each series is written once a
 * message and not once a frame; and of many messages, so that watchers hear of them once. Any
 * thread. */
#ifndef SERVER_POINTS_GATHER_H
#define SERVER_POINTS_GATHER_H

#include "common/err.h"
#include "common/series.h"

#define GATHER_SERIES_MAX SERIES_PER_EXPERIMENT_MAX

struct gathered {
    char name[SERIES_NAME_MAX + 1];
    struct point *points; /* in the order of the frames */
    size_t n, capacity;
};
/* Zero it to start. */
struct points_gather {
    struct gathered *series;
    size_t n, capacity;
    size_t next; /* frames name the same series in the same order: where to look first */
};
/* Copies. Errors: ERR_NOMEM; ERR_TOO_LARGE: GATHER_SERIES_MAX series are here already. */
int gather_points(struct points_gather *g, const char *name, const struct point *points, size_t n,
                  struct err *e);
/* Puts all of from behind what is there. Errors: as gather_points; some of it may be there then. */
int gather_all(struct points_gather *g, const struct points_gather *from, struct err *e);
size_t gather_points_count(const struct points_gather *g);
void gather_deinit(struct points_gather *g); /* safe on a zeroed one and when repeated */

#endif
