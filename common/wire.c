/* wire: see wire.h. Frames are read from outside bytes: every length is checked before use. */
#include "common/wire.h"

#include "common/digest.h"
#include "common/mem.h"

#include <string.h>

static const unsigned char magic[4] = { 'S', 'P', 'F', '1' };
static const char *const kind_names[] = {
    [RECORD_RASTER] = "raster",         [RECORD_MEMBRANE] = "membrane",
    [RECORD_PSN_WEIGHT] = "psn_weight", [RECORD_INPUT] = "input",
    [RECORD_CONFUSION] = "confusion",   [RECORD_HISTOGRAM] = "histogram",
    [RECORD_PROFILE] = "profile",
};
#define KIND_COUNT (sizeof kind_names / sizeof kind_names[0])

const char *record_kind_name(enum record_kind kind)
{
    return (unsigned)kind < KIND_COUNT ? kind_names[kind] : NULL;
}

int record_kind_from_name(const char *name, enum record_kind *out)
{
    for (size_t i = 1; i < KIND_COUNT; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *out = (enum record_kind)i;
            return 0;
        }
    }
    return -1;
}

void wire_buf_deinit(struct wire_buf *b)
{
    mem_free(b->data);
    *b = (struct wire_buf){ 0 };
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool reserve(struct wire_buf *b, size_t more)
{
    size_t need;
    if (!mem_add(b->length, more, &need)) return false;
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity < 1024 ? 1024 : b->capacity;
    while (capacity < need) capacity *= 2;
    unsigned char *grown = mem_realloc_array(b->data, capacity, 1);
    if (grown == NULL) return false;
    b->data = grown;
    b->capacity = capacity;
    return true;
}

static bool put(struct wire_buf *b, const void *data, size_t n)
{
    if (!reserve(b, n)) return false;
    if (n > 0) memcpy(b->data + b->length, data, n);
    b->length += n;
    return true;
}

static bool put_uint(struct wire_buf *b, uint64_t value, size_t bytes)
{
    unsigned char le[8];
    for (size_t i = 0; i < bytes; i++) le[i] = (unsigned char)(value >> (8 * i));
    return put(b, le, bytes);
}

static bool put_double(struct wire_buf *b, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_uint(b, bits, 8);
}

static void set_u32(unsigned char *p, uint32_t value)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(value >> (8 * i));
}

/* Header with length and checksum still open; *start is where it begins. */
static bool begin_frame(struct wire_buf *b, uint64_t number, enum wire_kind kind, size_t *start)
{
    *start = b->length;
    return put(b, magic, 4) && put_uint(b, 0, 4) && put_uint(b, number, 8) &&
           put_uint(b, (uint64_t)kind, 1) && put_uint(b, 0, 3) && put_uint(b, 0, 4);
}

static int end_frame(struct wire_buf *b, size_t start, bool complete, struct err *e)
{
    size_t bytes = b->length - start;
    if (!complete || bytes > WIRE_FRAME_BYTES_MAX) {
        b->length = start;
        return complete ? err_set(e, ERR_TOO_LARGE, "frame of %zu bytes, at most %d", bytes,
                                  WIRE_FRAME_BYTES_MAX)
                        : err_set(e, ERR_NOMEM, "frame buffer");
    }
    unsigned char *frame = b->data + start;
    uint32_t payload = (uint32_t)(bytes - WIRE_FRAME_HEADER_BYTES);
    set_u32(frame + 4, payload);
    set_u32(frame + 20, digest_crc32c(0, frame + WIRE_FRAME_HEADER_BYTES, payload));
    return 0;
}

static bool put_series(struct wire_buf *b, const struct wire_series *s)
{
    size_t name = strlen(s->name);
    bool ok = put_uint(b, name, 2) && put(b, s->name, name) && put_uint(b, s->n_points, 4);
    for (size_t i = 0; ok && i < s->n_points; i++) {
        const struct point *p = &s->points[i];
        ok = put_uint(b, p->step, 8) && put_uint(b, (uint64_t)p->time_ms, 8) &&
             put_double(b, p->value);
    }
    return ok;
}

int wire_put_points(struct wire_buf *b, uint64_t frame_number, const struct wire_series *series,
                    size_t n_series, struct err *e)
{
    size_t points = 0;
    for (size_t i = 0; i < n_series; i++) {
        if (!series_name_valid(series[i].name, strlen(series[i].name))) {
            return err_set(e, ERR_INVALID, "series name '%.140s'", series[i].name);
        }
        points += series[i].n_points;
    }
    if (points > WIRE_POINTS_PER_FRAME_MAX || n_series > SERIES_PER_EXPERIMENT_MAX) {
        return err_set(e, ERR_TOO_LARGE, "%zu points in a frame, at most %d", points,
                       WIRE_POINTS_PER_FRAME_MAX);
    }
    size_t start;
    bool ok = begin_frame(b, frame_number, WIRE_POINTS, &start) && put_uint(b, n_series, 2);
    for (size_t i = 0; ok && i < n_series; i++) ok = put_series(b, &series[i]);
    return end_frame(b, start, ok, e);
}

int wire_put_record(struct wire_buf *b, uint64_t frame_number, const struct record *r,
                    struct err *e)
{
    size_t layer = strnlen(r->layer, sizeof r->layer);
    size_t start;
    bool ok = begin_frame(b, frame_number, WIRE_RECORD, &start) && put_uint(b, layer, 2) &&
              put(b, r->layer, layer) && put_uint(b, (uint64_t)r->kind, 1) &&
              put_uint(b, r->step, 8) && put_uint(b, r->epoch, 4) &&
              put_uint(b, (uint64_t)r->time_ms, 8) && put_uint(b, r->n_dims, 1);
    for (uint32_t i = 0; ok && i < r->n_dims; i++) ok = put_uint(b, r->dims[i], 4);
    ok = ok && put_uint(b, (uint64_t)r->encoding, 1) && put_uint(b, r->data_bytes, 4) &&
         put(b, r->data, r->data_bytes);
    return end_frame(b, start, ok, e);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct cursor {
    const unsigned char *at;
    size_t left;
};

static bool take(struct cursor *c, size_t n, const unsigned char **out)
{
    if (n > c->left) return false;
    *out = c->at;
    c->at += n;
    c->left -= n;
    return true;
}

static bool take_uint(struct cursor *c, size_t bytes, uint64_t *out)
{
    const unsigned char *p;
    if (!take(c, bytes, &p)) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
    *out = value;
    return true;
}

int wire_next(const unsigned char *data, size_t length, size_t *consumed, struct wire_frame *out,
              struct err *e)
{
    *consumed = 0;
    if (length < WIRE_FRAME_HEADER_BYTES) return 0;
    if (memcmp(data, magic, 4) != 0) return err_set(e, ERR_INVALID, "frame without magic");
    struct cursor c = { data + 4, WIRE_FRAME_HEADER_BYTES - 4 };
    uint64_t bytes, number, kind, spare, crc;
    bool whole = take_uint(&c, 4, &bytes) && take_uint(&c, 8, &number) &&
                 take_uint(&c, 1, &kind) && take_uint(&c, 3, &spare) && take_uint(&c, 4, &crc);
    if (!whole || bytes > WIRE_FRAME_BYTES_MAX - WIRE_FRAME_HEADER_BYTES || number == 0 ||
        (kind != WIRE_POINTS && kind != WIRE_RECORD)) {
        return err_set(e, ERR_INVALID, "frame header is damaged");
    }
    if (length - WIRE_FRAME_HEADER_BYTES < bytes) return 0;
    const unsigned char *payload = data + WIRE_FRAME_HEADER_BYTES;
    if (digest_crc32c(0, payload, (size_t)bytes) != (uint32_t)crc) {
        return err_set(e, ERR_INVALID, "frame %llu fails its checksum", (unsigned long long)number);
    }
    *out = (struct wire_frame){ (enum wire_kind)kind, number, payload, (uint32_t)bytes };
    *consumed = WIRE_FRAME_HEADER_BYTES + (size_t)bytes;
    return 1;
}

static bool take_points(struct cursor *c, struct point *points, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t step, time_ms, bits;
        if (!take_uint(c, 8, &step) || !take_uint(c, 8, &time_ms) || !take_uint(c, 8, &bits)) {
            return false;
        }
        points[i].step = step;
        points[i].time_ms = (int64_t)time_ms;
        memcpy(&points[i].value, &bits, sizeof bits);
    }
    return true;
}

/* One series of a frame; its points are copied so that they are aligned. */
static int next_series(struct cursor *c, struct point *scratch, size_t *budget, wire_points_fn fn,
                       void *ctx, struct err *e)
{
    uint64_t name_bytes, n;
    const unsigned char *name;
    char text[SERIES_NAME_MAX + 1];
    if (!take_uint(c, 2, &name_bytes) || !take(c, (size_t)name_bytes, &name) ||
        !series_name_valid((const char *)name, (size_t)name_bytes) || !take_uint(c, 4, &n) ||
        n > *budget) {
        return err_set(e, ERR_INVALID, "points frame is damaged");
    }
    memcpy(text, name, (size_t)name_bytes);
    text[name_bytes] = '\0';
    if (!take_points(c, scratch, (size_t)n)) {
        return err_set(e, ERR_INVALID, "points of '%s' are cut", text);
    }
    *budget -= (size_t)n;
    return fn(ctx, text, scratch, (size_t)n, e);
}

int wire_each_series(const struct wire_frame *f, wire_points_fn fn, void *ctx, struct err *e)
{
    struct cursor c = { f->payload, f->payload_bytes };
    uint64_t n_series;
    if (f->kind != WIRE_POINTS || !take_uint(&c, 2, &n_series)) {
        return err_set(e, ERR_INVALID, "not a points frame");
    }
    size_t budget = c.left / sizeof(struct point);
    if (budget > WIRE_POINTS_PER_FRAME_MAX) budget = WIRE_POINTS_PER_FRAME_MAX;
    struct point *scratch = mem_calloc(budget + 1, sizeof *scratch);
    if (scratch == NULL) return err_set(e, ERR_NOMEM, "points of a frame");
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < n_series; i++) {
        rc = next_series(&c, scratch, &budget, fn, ctx, e);
    }
    mem_free(scratch);
    if (rc == 0 && c.left != 0)
        return err_set(e, ERR_INVALID, "points frame has %zu bytes over", c.left);
    return rc;
}

int wire_read_record(const struct wire_frame *f, struct record *out, struct err *e)
{
    struct cursor c = { f->payload, f->payload_bytes };
    struct record r = { 0 };
    uint64_t layer_bytes, kind, step, epoch, time_ms, n_dims, dim, encoding, bytes;
    const unsigned char *layer, *data;
    if (f->kind != WIRE_RECORD || !take_uint(&c, 2, &layer_bytes) ||
        layer_bytes >= sizeof r.layer || !take(&c, (size_t)layer_bytes, &layer) ||
        !take_uint(&c, 1, &kind) || record_kind_name((enum record_kind)kind) == NULL ||
        !take_uint(&c, 8, &step) || !take_uint(&c, 4, &epoch) || !take_uint(&c, 8, &time_ms) ||
        !take_uint(&c, 1, &n_dims) || n_dims > 4) {
        return err_set(e, ERR_INVALID, "record frame is damaged");
    }
    for (uint64_t i = 0; i < n_dims; i++) {
        if (!take_uint(&c, 4, &dim)) return err_set(e, ERR_INVALID, "record dimensions are cut");
        r.dims[i] = (uint32_t)dim;
    }
    if (!take_uint(&c, 1, &encoding) || encoding > RECORD_ZSTD || !take_uint(&c, 4, &bytes) ||
        !take(&c, (size_t)bytes, &data) || c.left != 0) {
        return err_set(e, ERR_INVALID, "record data are cut");
    }
    memcpy(r.layer, layer, (size_t)layer_bytes);
    if (memchr(r.layer, '\0', (size_t)layer_bytes) != NULL) {
        return err_set(e, ERR_INVALID, "record's layer path holds a zero byte");
    }
    r.kind = (enum record_kind)kind;
    r.step = step;
    r.epoch = (uint32_t)epoch;
    r.time_ms = (int64_t)time_ms;
    r.n_dims = (uint32_t)n_dims;
    r.encoding = (enum record_encoding)encoding;
    r.data = data;
    r.data_bytes = (uint32_t)bytes;
    *out = r;
    return 0;
}
