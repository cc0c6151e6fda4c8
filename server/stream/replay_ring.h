/* replay_ring: the last events by number, bounded in count and bytes; the oldest go first. Readers
 * keep only a number, so a slow one costs nothing. Loop thread. */
#ifndef SERVER_REPLAY_RING_H
#define SERVER_REPLAY_RING_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_EVENTS_MAX 65536
#define RING_BYTES_MAX ((size_t)32 << 20)

struct ring_event {
    char *text;       /* "event: ...\ndata: ...\n", without id and last blank line */
    size_t length;
    int64_t experiment;
    bool everybody;   /* of topic `experiments` too, not only of its experiment's */
};
struct replay_ring {
    struct ring_event *events; /* [RING_EVENTS_MAX], slot = number % RING_EVENTS_MAX */
    uint64_t first, next;      /* numbers kept: [first, next) */
    size_t bytes;
};
/* Errors: ERR_NOMEM. */
int ring_init(struct replay_ring *r, struct err *e);
void ring_deinit(struct replay_ring *r);
/* Copies; false (and nothing changes) when out of memory. Numbers begin at 1. */
bool ring_push(struct replay_ring *r, const char *event, const char *data, int64_t experiment,
               bool everybody);
/* NULL when the number is no longer, or not yet, here. Valid until the next push. */
const struct ring_event *ring_get(const struct replay_ring *r, uint64_t number);

#endif
