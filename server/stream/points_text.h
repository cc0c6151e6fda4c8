/* points_text: gathered points as the data of an event. Loop thread. */
#ifndef SERVER_POINTS_TEXT_H
#define SERVER_POINTS_TEXT_H

#include "server/store/points_gather.h"

/* {"id": experiment, "series": {NAME: [[step, time_ms, value], ...]}}, without blanks; caller frees
 * with mem_free. NULL: no memory. */
char *points_text(int64_t experiment, const struct points_gather *g);

#endif
