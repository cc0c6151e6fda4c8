/* metrics_store: series, points, acknowledged frames and records in metrics.db. Functions that take
 * the writer's connection run on the writer thread; reads run in the pool. */
#ifndef SERVER_METRICS_STORE_H
#define SERVER_METRICS_STORE_H

#include "common/json.h"
#include "common/wire.h"

#include "server/store/points_gather.h"

#include <sqlite3.h>

/* What one lot of frames came to. Zero it to start; free with metrics_result_deinit. */
struct metrics_result {
    uint64_t acked_frame;
    struct points_gather *lots; /* points of newly accepted frames; more than one lot only when */
    size_t n_lots;              /* a message has more series than one holds */
    size_t n_points;
    cJSON *records; /* [{"layer","kind","index","step","epoch"}], of a profile "profile" too */
};
void metrics_result_deinit(struct metrics_result *r);
/* Commits frames above the acknowledged one of (experiment, attempt), and the new acknowledgement,
 * in the caller's transaction. until_step: later points and records are dropped; 0 = none are.
 * records_path: file that record bytes are appended to. Errors: ERR_INVALID, ERR_DB, ERR_IO. */
int metrics_ingest(sqlite3 *db, int64_t experiment, int64_t attempt, uint64_t until_step,
                   const unsigned char *body, size_t length, const char *records_path,
                   struct metrics_result *out, struct err *e);
/* Deletes points and records after `step` and recomputes the summaries. Errors: ERR_DB. */
int metrics_cut(sqlite3 *db, int64_t experiment, uint64_t step, struct err *e);
/* Deletes a slice of what there is of an experiment; *more: there is something left. Errors:
 * ERR_DB.
 */
int metrics_delete(sqlite3 *db, int64_t experiment, bool *more, struct err *e);
/* Highest frame committed of an attempt; 0 = none. */
int metrics_acked(sqlite3 *db, int64_t experiment, int64_t attempt, uint64_t *out, struct err *e);

/* Bodies of docs/api.md. *out: owned by the caller. Errors: ERR_NOT_FOUND, ERR_DB, ERR_IO. */
int metrics_read_series(sqlite3 *db, int64_t experiment, cJSON **out, struct err *e);
/* Points of a series from step `from` to `to`, both included; to 0: to the end. */
struct metrics_range {
    const char *name;
    uint64_t from, to;
    int64_t max_points;
};
/* All of them, or at most max_points buckets. */
int metrics_read_points(sqlite3 *db, int64_t experiment, const struct metrics_range *range,
                        cJSON **out, struct err *e);
/* At most max_points of them behind cursor ("" = from the first), with the cursor of what follows.
 * Errors also: ERR_INVALID (no cursor of ours). */
int metrics_read_page(sqlite3 *db, int64_t experiment, const struct metrics_range *range,
                      const char *cursor, cJSON **out, struct err *e);
/* The first point at or after a step; *found: there is one. */
int metrics_point_from(sqlite3 *db, int64_t experiment, const char *name, uint64_t step,
                       struct point *out, bool *found, struct err *e);
int metrics_read_monitors(sqlite3 *db, int64_t experiment, cJSON **out, struct err *e);
int metrics_read_records(sqlite3 *db, int64_t experiment, const char *layer, const char *kind,
                         cJSON **out, struct err *e);
/* Bytes of a record as they were before they were compressed; caller frees *out. Errors: ERR_IO
 * (damaged), ERR_NOMEM. */
int metrics_decompress(const void *data, size_t length, unsigned char **out, size_t *out_length,
                       struct err *e);
/* One record; bytes decompressed, caller frees with mem_free. index -1 = the last. */
struct metrics_record {
    int64_t index, step, epoch, time_ms;
    char dims[80]; /* "[4,256]" */
    unsigned char *data;
    size_t length;
};
int metrics_read_record(sqlite3 *db, int64_t experiment, const char *layer, const char *kind,
                        int64_t index, const char *records_path, struct metrics_record *out,
                        struct err *e);

#endif
