/* Frames of the worker protocol: round trips, damage, lies. Readers get heap blocks of the exact
 * size, so that a sanitizer sees each byte read too much. */
#include "common/digest.h"
#include "common/mem.h"
#include "common/wire.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static struct err fault;

/* Walks all frames of an exact copy; returns how many were read, or minus the error's code. */
struct walk {
    int frames;
    size_t consumed, series, points;
    int read_rc;
};
static int count_series(void *ctx, const char *name, const struct point *points, size_t n,
                        struct err *e)
{
    (void)e;
    struct walk *w = ctx;
    cr_assert(series_name_valid(name, strlen(name)));
    for (size_t i = 0; i < n; i++) w->points += points[i].step != UINT64_MAX;
    w->series++;
    return 0;
}
static struct walk walk_frames(const unsigned char *data, size_t length)
{
    unsigned char *exact = mem_alloc(length);
    memcpy(exact, data, length);
    struct walk w = { 0 };
    for (;;) {
        size_t consumed;
        struct wire_frame f;
        fault = (struct err){ 0 };
        const int rc = wire_next(exact + w.consumed, length - w.consumed, &consumed, &f, &fault);
        if (rc != 1) {
            if (rc != 0) w.frames = -rc;
            break;
        }
        cr_assert_leq(w.consumed + consumed, length);
        w.consumed += consumed;
        w.frames++;
        struct record r;
        w.read_rc = f.kind == WIRE_POINTS ? wire_each_series(&f, count_series, &w, &fault)
                                          : wire_read_record(&f, &r, &fault);
        if (w.read_rc == 0 && f.kind == WIRE_RECORD) (void)digest_crc32c(0, r.data, r.data_bytes);
    }
    mem_free(exact);
    return w;
}

static const struct point two_points[] = { { 1, INT64_C(1795487467120), 0.5 }, { 2, -1, NAN } };
static const struct point one_point[] = { { UINT64_C(1) << 60, 0, -INFINITY } };
static const struct wire_series sample_series[] = { { "train/loss", two_points, 2 },
                                                    { "a/tau", one_point, 1 },
                                                    { "b/tau", NULL, 0 } };
static struct record sample_record(void)
{
    static const unsigned char bits[6] = { 1, 2, 3, 4, 5, 6 };
    return (struct record){ .kind = RECORD_RASTER,
                            .layer = "conv1",
                            .step = 40,
                            .epoch = 3,
                            .time_ms = 123,
                            .n_dims = 2,
                            .dims = { 3, 16 },
                            .encoding = RECORD_RAW,
                            .data = bits,
                            .data_bytes = sizeof bits };
}
static struct wire_buf sample_frames(void)
{
    struct wire_buf b = { 0 };
    struct err e = { 0 };
    const struct record r = sample_record();
    cr_assert_eq(wire_put_points(&b, 1, sample_series, 3, &e), 0, "%s", e.text);
    cr_assert_eq(wire_put_record(&b, 2, &r, &e), 0, "%s", e.text);
    return b;
}
/* Makes the checksum of the first frame right again after its payload was changed. */
static void seal(unsigned char *frame, size_t payload)
{
    const uint32_t crc = digest_crc32c(0, frame + WIRE_FRAME_HEADER_BYTES, payload);
    for (int i = 0; i < 4; i++) frame[4 + i] = (unsigned char)(payload >> (8 * i));
    for (int i = 0; i < 4; i++) frame[20 + i] = (unsigned char)(crc >> (8 * i));
}

struct seen {
    size_t n;
    char names[4][32];
    struct point points[8];
    size_t n_points, stop_at;
};
static int keep(void *ctx, const char *name, const struct point *points, size_t n, struct err *e)
{
    (void)e;
    struct seen *s = ctx;
    (void)snprintf(s->names[s->n++], 32, "%s", name);
    for (size_t i = 0; i < n; i++) s->points[s->n_points++] = points[i];
    return s->n == s->stop_at ? 77 : 0;
}

/* Goal: points come back bit by bit, NaN and infinities too, series in their order. */
Test(wire, points_round_trip, .timeout = 5)
{
    struct wire_buf b = sample_frames();
    struct wire_frame f;
    size_t consumed;
    cr_assert_eq(wire_next(b.data, b.length, &consumed, &f, &fault), 1);
    cr_expect(f.kind == WIRE_POINTS && f.number == 1);
    struct seen s = { 0 };
    cr_assert_eq(wire_each_series(&f, keep, &s, &fault), 0, "%s", fault.text);
    cr_assert_eq(s.n, 3);
    for (size_t i = 0; i < 3; i++) cr_expect_str_eq(s.names[i], sample_series[i].name);
    cr_assert_eq(s.n_points, 3);
    cr_expect_arr_eq(s.points, two_points, sizeof two_points);
    cr_expect_arr_eq(s.points + 2, one_point, sizeof one_point);
    struct seen stopped = { .stop_at = 2 };
    cr_expect_eq(wire_each_series(&f, keep, &stopped, &fault), 77, "the caller may end the walk");
    cr_expect_eq(stopped.n, 2);
    wire_buf_deinit(&b);
}

/* Goal: a record comes back field by field. */
Test(wire, record_round_trips, .timeout = 5)
{
    struct wire_buf b = sample_frames();
    struct wire_frame f;
    size_t first, second;
    cr_assert_eq(wire_next(b.data, b.length, &first, &f, &fault), 1);
    cr_assert_eq(wire_next(b.data + first, b.length - first, &second, &f, &fault), 1);
    cr_expect_eq(first + second, b.length);
    cr_expect(f.kind == WIRE_RECORD && f.number == 2);
    const struct record want = sample_record();
    struct record got;
    cr_assert_eq(wire_read_record(&f, &got, &fault), 0, "%s", fault.text);
    cr_expect_str_eq(got.layer, want.layer);
    cr_expect(got.kind == want.kind && got.step == want.step && got.epoch == want.epoch);
    cr_expect(got.time_ms == want.time_ms && got.encoding == want.encoding);
    cr_expect(got.n_dims == 2 && got.dims[0] == 3 && got.dims[1] == 16 && got.dims[2] == 0);
    cr_assert_eq(got.data_bytes, want.data_bytes);
    cr_expect_arr_eq(got.data, want.data, want.data_bytes);
    cr_expect_eq(wire_each_series(&f, keep, &(struct seen){ 0 }, &fault), ERR_INVALID);
    wire_buf_deinit(&b);
}

/* Goal: the first frame has the bytes docs/worker-protocol.md describes, on every machine. */
Test(wire, layout_is_little_endian, .timeout = 5)
{
    static const struct point p[] = { { 0x0102, 0x03, 1.0 } };
    static const struct wire_series s[] = { { "ab", p, 1 } };
    static const unsigned char want[] = {
        'S', 'P', 'F', '1', 34, 0, 0, 0, 7,   0,   0, 0, 0, 0, 0, 0, 1,    0,    0, 0,
        0,   0,   0,   0,   1,  0, 2, 0, 'a', 'b', 1, 0, 0, 0, 2, 1, 0,    0,    0, 0,
        0,   0,   3,   0,   0,  0, 0, 0, 0,   0,   0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
    };
    struct wire_buf b = { 0 };
    cr_assert_eq(wire_put_points(&b, 7, s, 1, &fault), 0);
    cr_assert_eq(b.length, sizeof want);
    memset(b.data + 20, 0, 4); /* the checksum has a test of its own */
    cr_expect_arr_eq(b.data, want, sizeof want);
    wire_buf_deinit(&b);
}

/* Goal: a cut stream gives the whole frames in front of the cut and asks for more, at every length.
 */
Test(wire, cut_frames_wait_for_more, .timeout = 10)
{
    struct wire_buf b = sample_frames();
    const struct walk all = walk_frames(b.data, b.length);
    cr_assert_eq(all.frames, 2);
    size_t first = 0;
    struct wire_frame f;
    (void)wire_next(b.data, b.length, &first, &f, &fault);
    for (size_t n = 0; n < b.length; n++) {
        const struct walk w = walk_frames(b.data, n);
        cr_expect_eq(w.frames, n >= first, "length %zu", n);
        cr_expect_eq(w.consumed, n >= first ? first : 0);
    }
    wire_buf_deinit(&b);
}

/* Goal: one flipped bit anywhere in a frame is noticed or leaves an incomplete frame; never a
 * changed payload. The frame number and spare bytes carry no checksum. */
Test(wire, damaged_frames_are_refused, .timeout = 20)
{
    struct wire_buf b = sample_frames();
    size_t first = 0;
    struct wire_frame f;
    (void)wire_next(b.data, b.length, &first, &f, &fault);
    for (size_t bit = 0; bit < first * 8; bit++) {
        if (bit / 8 >= 8 && bit / 8 < 20) continue;
        b.data[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        const struct walk w = walk_frames(b.data, b.length);
        cr_expect(w.frames == -ERR_INVALID || w.frames == 0, "bit %zu: %d", bit, w.frames);
        b.data[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    wire_buf_deinit(&b);
}

/* Goal: every byte of a payload may lie under a right checksum, and nothing is read past its end.
 */
Test(wire, lying_payloads_stay_inside, .timeout = 20)
{
    static const unsigned char lies[] = { 0, 1, 0x7f, 0x80, 0xff };
    struct wire_buf b = sample_frames();
    size_t from = 0;
    for (int frame = 0; frame < 2; frame++) {
        struct wire_frame f;
        size_t size;
        cr_assert_eq(wire_next(b.data + from, b.length - from, &size, &f, &fault), 1);
        unsigned char *copy = mem_alloc(size);
        for (size_t i = WIRE_FRAME_HEADER_BYTES; i < size; i++)
            for (size_t k = 0; k < sizeof lies; k++) {
                memcpy(copy, b.data + from, size);
                copy[i] = lies[k];
                seal(copy, size - WIRE_FRAME_HEADER_BYTES);
                const struct walk w = walk_frames(copy, size);
                cr_expect_eq(w.frames, 1);
                cr_expect(w.read_rc == 0 || w.read_rc == ERR_INVALID);
            }
        for (size_t n = WIRE_FRAME_HEADER_BYTES; n < size; n++) {
            memcpy(copy, b.data + from, n);
            seal(copy, n - WIRE_FRAME_HEADER_BYTES);
            const struct walk w = walk_frames(copy, n);
            cr_expect(w.frames == 1 && w.read_rc == ERR_INVALID, "payload cut to %zu", n);
        }
        mem_free(copy);
        from += size;
    }
    wire_buf_deinit(&b);
}

/* Goal: bytes behind the last series or the data of a record are a fault. */
Test(wire, leftover_bytes_are_refused, .timeout = 5)
{
    struct wire_buf b = sample_frames();
    struct wire_frame f;
    size_t first;
    (void)wire_next(b.data, b.length, &first, &f, &fault);
    for (int frame = 0; frame < 2; frame++) {
        const unsigned char *from = frame == 0 ? b.data : b.data + first;
        const size_t size = frame == 0 ? first : b.length - first;
        unsigned char *copy = mem_calloc(size + 1, 1);
        memcpy(copy, from, size);
        seal(copy, size + 1 - WIRE_FRAME_HEADER_BYTES);
        const struct walk w = walk_frames(copy, size + 1);
        cr_expect(w.frames == 1 && w.read_rc == ERR_INVALID);
        mem_free(copy);
    }
    wire_buf_deinit(&b);
}

/* Goal: a record of five dimensions, complete and under a right checksum, is refused. */
Test(wire, fifth_dimension_is_refused, .timeout = 5)
{
    enum { BEFORE = 2 + 1 + 1 + 8 + 4 + 8, PAYLOAD = BEFORE + 1 + 5 * 4 + 1 + 4 };
    for (unsigned char n_dims = 4; n_dims <= 5; n_dims++) {
        unsigned char frame[WIRE_FRAME_HEADER_BYTES + PAYLOAD] = { 'S', 'P', 'F', '1' };
        const size_t payload = PAYLOAD - (n_dims == 4 ? 4 : 0);
        frame[8] = 1;
        frame[16] = WIRE_RECORD;
        frame[WIRE_FRAME_HEADER_BYTES] = 1; /* layer path of one byte */
        frame[WIRE_FRAME_HEADER_BYTES + 2] = 'x';
        frame[WIRE_FRAME_HEADER_BYTES + 3] = RECORD_INPUT;
        frame[WIRE_FRAME_HEADER_BYTES + BEFORE] = n_dims;
        seal(frame, payload);
        const struct walk w = walk_frames(frame, WIRE_FRAME_HEADER_BYTES + payload);
        cr_expect_eq(w.frames, 1);
        cr_expect_eq(w.read_rc, n_dims == 4 ? 0 : ERR_INVALID, "%u dimensions", n_dims);
    }
}

/* Goal: headers with a foreign magic, kind, number 0 or a length over the limit are refused. */
Test(wire, bad_headers_are_refused, .timeout = 5)
{
    static const struct {
        size_t at;
        unsigned char value;
    } cases[] = {
        { 0, 's' }, { 3, '2' }, { 16, 0 }, { 16, 3 }, { 8, 0 }, { 6, 0x20 }, { 7, 0xff }
    };
    struct wire_buf b = sample_frames();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const unsigned char old = b.data[cases[i].at];
        b.data[cases[i].at] = cases[i].value;
        cr_expect_eq(walk_frames(b.data, b.length).frames, -ERR_INVALID, "case %zu", i);
        b.data[cases[i].at] = old;
    }
    wire_buf_deinit(&b);
}

/* Goal: what is over a limit is refused by the writer, and the buffer stays as it was. */
Test(wire, writers_keep_the_limits, .timeout = 10)
{
    struct wire_buf b = sample_frames();
    const size_t before = b.length;
    struct point *many = mem_calloc(WIRE_POINTS_PER_FRAME_MAX + 1, sizeof *many);
    const struct wire_series s[] = { { "x/tau", many, WIRE_POINTS_PER_FRAME_MAX + 1 } };
    cr_expect_eq(wire_put_points(&b, 3, s, 1, &fault), ERR_TOO_LARGE);
    const struct wire_series bad[] = { { "no blanks", two_points, 2 } };
    cr_expect_eq(wire_put_points(&b, 3, bad, 1, &fault), ERR_INVALID);
    struct record r = sample_record();
    r.data_bytes = WIRE_FRAME_BYTES_MAX;
    r.data = mem_calloc(WIRE_FRAME_BYTES_MAX, 1);
    cr_expect_eq(wire_put_record(&b, 3, &r, &fault), ERR_TOO_LARGE);
    cr_expect_eq(b.length, before);
    const struct wire_series most[] = { { "x/tau", many, WIRE_POINTS_PER_FRAME_MAX } };
    cr_expect_eq(wire_put_points(&b, 3, most, 1, &fault), 0, "%s", fault.text);
    const struct walk w = walk_frames(b.data, b.length);
    cr_expect(w.frames == 3 && w.points == 3 + WIRE_POINTS_PER_FRAME_MAX);
    mem_free((void *)r.data);
    mem_free(many);
    wire_buf_deinit(&b);
    wire_buf_deinit(&b);
}

/* Goal: a failed allocation is ERR_NOMEM and leaves the frames written before. */
Test(wire, memory_faults_are_reported, .timeout = 5)
{
    struct wire_buf b = { 0 };
    mem_fail_after(1);
    cr_expect_eq(wire_put_points(&b, 1, sample_series, 3, &fault), ERR_NOMEM);
    mem_fail_after(0);
    cr_expect_eq(b.length, 0);
    wire_buf_deinit(&b);
    b = sample_frames();
    struct wire_frame f;
    size_t consumed;
    cr_assert_eq(wire_next(b.data, b.length, &consumed, &f, &fault), 1);
    mem_fail_after(1);
    cr_expect_eq(wire_each_series(&f, keep, &(struct seen){ 0 }, &fault), ERR_NOMEM);
    mem_fail_after(0);
    wire_buf_deinit(&b);
}

/* Goal: record kinds have stable numbers and names that lead back. */
Test(wire, record_kinds_round_trip, .timeout = 5)
{
    for (int kind = RECORD_RASTER; kind <= RECORD_PROFILE; kind++) {
        enum record_kind back;
        cr_assert_eq(record_kind_from_name(record_kind_name((enum record_kind)kind), &back), 0);
        cr_expect_eq(back, kind);
    }
    cr_expect_null(record_kind_name((enum record_kind)0));
    cr_expect_null(record_kind_name((enum record_kind)8));
    enum record_kind same = RECORD_INPUT;
    cr_expect_eq(record_kind_from_name("rasters", &same), -1);
    cr_expect_eq(same, RECORD_INPUT);
    cr_expect(RECORD_MEMBRANE == 2 && RECORD_PSN_WEIGHT == 3 && RECORD_CONFUSION == 5 &&
              RECORD_PROFILE == 7);
}
