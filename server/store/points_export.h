/* points_export: every point of one series, or of all series of an experiment, as text, part by
 * part: a chunk is in memory, and no read transaction lives between two parts. Of an experiment
 * that runs it has what is there when the end is reached. Pool threads, one at a time. */
#ifndef SERVER_POINTS_EXPORT_H
#define SERVER_POINTS_EXPORT_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

enum points_format { POINTS_CSV, POINTS_NDJSON };
struct points_export_of {
    const char *path; /* of metrics.db */
    int64_t experiment;
    const char *name;  /* NULL or "": all series, in the order of their names */
    uint64_t from, to; /* steps, both included; to 0: to the end */
    enum points_format format;
};
struct points_export;
/* Copies *of. Errors: ERR_NOT_FOUND (no such series), ERR_DB, ERR_NOMEM. */
int points_export_open(struct points_export **out, const struct points_export_of *of,
                       struct err *e);
/* *got 0: the end. room must hold a line (POINTS_LINE_MAX). Errors: ERR_DB. */
#define POINTS_LINE_MAX 320
int points_export_read(struct points_export *x, unsigned char *out, size_t room, size_t *got,
                       struct err *e);
void points_export_close(struct points_export *x); /* NULL is allowed */

#endif
