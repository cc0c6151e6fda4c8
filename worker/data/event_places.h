/* event_places: how published event data sets name their files. Pure; any thread. */
#ifndef WORKER_EVENT_PLACES_H
#define WORKER_EVENT_PLACES_H

#include "worker/data/dataset.h"
#include "worker/data/event_bytes.h"

/* What a path says about the samples in it. */
struct event_place {
    enum dataset_part part;
    uint32_t class, number; /* number: order of samples in a part */
};
struct event_places {
    const char *name; /* of the data set */
    event_parse_fn *parse;
    /* 1: a sample, or its labels; 0: no file of ours; else an error code (ERR_DATA). */
    int (*find)(const char *path, struct event_place *out, struct err *e);
    /* Endings of a file of labels and of the recording it belongs to; NULL: a sample a file. */
    const char *labels, *recording;
};
/* NULL when the name is no published event data set. */
const struct event_places *event_places_find(const char *name);

#endif
