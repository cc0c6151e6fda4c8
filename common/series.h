/* series: names, units and meanings of metric series, in one table (design 1). Any thread. */
#ifndef COMMON_SERIES_H
#define COMMON_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIES_NAME_MAX 128   /* [A-Za-z0-9_./:-]{1,128} */
#define SERIES_PER_EXPERIMENT_MAX 2000

/* One point. step = optimiser updates done (the first point is step 1). */
struct point {
    uint64_t step;
    int64_t time_ms; /* since 1970-01-01 UTC */
    double value;    /* may be NaN or infinite */
};

struct series_info {
    const char *pattern; /* "train/loss", or "LAYER/firing_rate" for one per layer path */
    const char *unit;    /* "1", "ms", "bytes", "spikes per neuron and time-step", ... */
    const char *meaning;
    bool higher_is_better; /* decides what `best` means */
    bool deterministic;    /* same bits after a crash; false for sys/... and wall-clock columns */
};

/* Row for a concrete name, or NULL when no row of the table matches. */
const struct series_info *series_find(const char *name);
bool series_name_valid(const char *name, size_t length);
size_t series_table(const struct series_info **rows);

#endif
