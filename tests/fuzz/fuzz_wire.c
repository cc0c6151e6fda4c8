/* fuzz_wire: any bytes as a stream of frames, and as the payload of a frame with a right checksum
 * (which libFuzzer would hardly ever guess). A payload that is accepted must be written again byte
 * by byte the same. Run by libFuzzer. */
#include "common/digest.h"
#include "common/mem.h"
#include "common/wire.h"

#include <stdlib.h>
#include <string.h>

struct kept {
    struct wire_series series[64];
    size_t n;
};

static int keep(void *ctx, const char *name, const struct point *points, size_t n, struct err *e)
{
    struct kept *k = ctx;
    if (k->n == sizeof k->series / sizeof k->series[0]) return err_set(e, ERR_TOO_LARGE, "series");
    struct point *copy = mem_calloc(n, sizeof *copy);
    if (n > 0) memcpy(copy, points, n * sizeof *copy);
    k->series[k->n++] = (struct wire_series){ mem_strdup(name), copy, n };
    return 0;
}

static void check_same(const struct wire_buf *b, const struct wire_frame *f)
{
    if (b->length != WIRE_FRAME_HEADER_BYTES + f->payload_bytes) abort();
    if (memcmp(b->data + WIRE_FRAME_HEADER_BYTES, f->payload, f->payload_bytes) != 0) abort();
}

static void read_points(const struct wire_frame *f)
{
    struct kept k = { 0 };
    struct err e = { 0 };
    struct wire_buf b = { 0 };
    if (wire_each_series(f, keep, &k, &e) == 0) {
        if (wire_put_points(&b, f->number, k.series, k.n, &e) != 0) abort();
        check_same(&b, f);
    }
    for (size_t i = 0; i < k.n; i++) {
        mem_free((void *)k.series[i].name);
        mem_free((void *)k.series[i].points);
    }
    wire_buf_deinit(&b);
}

static void read_record(const struct wire_frame *f)
{
    struct record r;
    struct err e = { 0 };
    struct wire_buf b = { 0 };
    if (wire_read_record(f, &r, &e) == 0) {
        const unsigned char *data = r.data;
        if (data < f->payload || data + r.data_bytes != f->payload + f->payload_bytes) abort();
        if (wire_put_record(&b, f->number, &r, &e) != 0) abort();
        check_same(&b, f);
    }
    wire_buf_deinit(&b);
}

static void walk(const unsigned char *data, size_t length)
{
    size_t consumed;
    struct wire_frame f;
    struct err e = { 0 };
    while (wire_next(data, length, &consumed, &f, &e) == 1) {
        if (consumed == 0 || consumed > length) abort();
        if (f.kind == WIRE_POINTS) read_points(&f);
        else read_record(&f);
        data += consumed;
        length -= consumed;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk(data, size);
    unsigned char *frame = mem_calloc(WIRE_FRAME_HEADER_BYTES + size, 1);
    if (frame == NULL) return 0;
    memcpy(frame, "SPF1", 4);
    frame[8] = 1;
    if (size > 0) memcpy(frame + WIRE_FRAME_HEADER_BYTES, data, size);
    const uint32_t crc = digest_crc32c(0, data, size);
    for (int i = 0; i < 4; i++) frame[4 + i] = (unsigned char)(size >> (8 * i));
    for (int i = 0; i < 4; i++) frame[20 + i] = (unsigned char)(crc >> (8 * i));
    for (unsigned char kind = WIRE_POINTS; kind <= WIRE_RECORD; kind++) {
        frame[16] = kind;
        walk(frame, WIRE_FRAME_HEADER_BYTES + size);
    }
    mem_free(frame);
    return 0;
}
