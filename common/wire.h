/* wire: encoding of the worker protocol, version WIRE_PROTOCOL (design 2.7).
 *
 * Control messages are JSON objects over HTTP; points and records are binary frames. The same
 * frames stand in the spool file, so that a worker can resend what was never acknowledged.
 *
 * Frame (little-endian):
 *   u32 magic "SPF1" | u32 payload_bytes | u64 frame_number | u8 kind | u8[3] 0 | u32
 * crc32c(payload) then payload_bytes of payload. frame_number starts at 1 in every attempt. Points
 * payload:  u16 n_series, then n_series x { u16 name_bytes, name, u32 n_points, n_points x { u64
 * step, i64 time_ms, f64 value } } Record payload:  u16 layer_bytes, layer | u8 kind (enum
 * record_kind) | u64 step | u32 epoch | i64 time_ms | u8 n_dims (<= 4) | u32 dims[n_dims] | u8
 * encoding | u32 data_bytes | data Cut payload (spool only): u64 step: what follows belongs after
 * this step of a resumed attempt.
 */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include "common/err.h"
#include "common/series.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_PROTOCOL 1
#define WIRE_FRAME_HEADER_BYTES 24
#define WIRE_FRAME_BYTES_MAX (1024 * 1024)
#define WIRE_POINTS_PER_FRAME_MAX 10000
#define WIRE_LAYER_MAX 128

enum wire_kind { WIRE_POINTS = 1, WIRE_RECORD = 2 };

/* What a monitor wrote. Values are stable: they stand in files. */
enum record_kind {
    RECORD_RASTER = 1, /* bits [T][neurons], neuron n = bit n%8 of byte n/8, rows padded to bytes */
    RECORD_MEMBRANE = 2,   /* f32 [T][neurons] */
    RECORD_PSN_WEIGHT = 3, /* f32 [T][T] */
    RECORD_INPUT = 4,      /* f32 [C][H][W] or [T][C][H][W] of the sample beside a raster */
    RECORD_CONFUSION = 5,  /* f32 [classes][classes], row = truth */
    RECORD_HISTOGRAM = 6,  /* f32 [2][bins]: edges' left ends, counts */
    RECORD_PROFILE = 7     /* JSON text of docs/api.md, layer "@net", dims [layers]: wall time, so
                              neither its values nor its steps are the same in another run */
};
const char *record_kind_name(enum record_kind kind); /* "raster"; NULL when unknown */
int record_kind_from_name(const char *name, enum record_kind *out); /* 0 or -1 */

enum record_encoding { RECORD_RAW = 0, RECORD_ZSTD = 1 };

struct record {
    enum record_kind kind;
    char layer[WIRE_LAYER_MAX]; /* layer path; "@input": the network's input; "@net": all of it */
    uint64_t step;
    uint32_t epoch;
    int64_t time_ms;
    uint32_t n_dims;
    uint32_t dims[4];
    enum record_encoding encoding;
    const void *data; /* borrowed */
    uint32_t data_bytes;
};

/* Growing byte buffer used to build frames. Zero it to start. */
struct wire_buf {
    unsigned char *data;
    size_t length, capacity;
};
void wire_buf_deinit(struct wire_buf *b);

/* Points of one frame are collected per series, then closed. All return 0 or an err code.
 * Errors: ERR_NOMEM; ERR_TOO_LARGE when a limit above is passed. */
struct wire_series {
    const char *name;
    const struct point *points;
    size_t n_points;
};
int wire_put_points(struct wire_buf *b, uint64_t frame_number, const struct wire_series *series,
                    size_t n_series, struct err *e);
int wire_put_record(struct wire_buf *b, uint64_t frame_number, const struct record *r,
                    struct err *e);

/* Walks frames in a buffer of outside bytes. Never reads past length.
 * wire_next: 1 = a frame, 0 = end (or an incomplete last frame: *consumed tells), else ERR_INVALID.
 */
struct wire_frame {
    enum wire_kind kind;
    uint64_t number;
    const unsigned char *payload;
    uint32_t payload_bytes;
};
int wire_next(const unsigned char *data, size_t length, size_t *consumed, struct wire_frame *out,
              struct err *e);
/* Calls fn for every series of a points frame; points are copied into an aligned scratch buffer.
 * fn returning non-zero ends the walk with that value. Errors: ERR_INVALID. */
typedef int (*wire_points_fn)(void *ctx, const char *name, const struct point *points,
                              size_t n_points, struct err *e);
int wire_each_series(const struct wire_frame *f, wire_points_fn fn, void *ctx, struct err *e);
/* out->data points into the frame. Errors: ERR_INVALID. */
int wire_read_record(const struct wire_frame *f, struct record *out, struct err *e);

#endif
