/* event_aedat: AEDAT 2.0 and 3.1 files and the label files of DVS128 Gesture. See event_bytes.h.
 * Layouts: inivation.gitlab.io/dv/dv-docs, AEDAT 2.0 and 3.1. */
#include "worker/data/event_bytes.h"

#include <stdbool.h>
#include <string.h>

#define AEDAT2_BYTES 8
#define AEDAT3_HEADER 28
#define AEDAT3_EVENT 8
#define POLARITY 1

static uint32_t big32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint32_t little32(const uint8_t *b)
{
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

/* End of the line that begins at `at`, behind its newline. */
static size_t line_end(const uint8_t *bytes, size_t n, size_t at)
{
    const uint8_t *newline = at < n ? memchr(bytes + at, '\n', n - at) : NULL;
    return newline != NULL ? (size_t)(newline - bytes) + 1 : n;
}

static bool line_begins(const uint8_t *bytes, size_t n, size_t at, const char *with)
{
    const size_t length = strlen(with);
    return n - at >= length && memcmp(bytes + at, with, length) == 0;
}

static int check_pixel(uint32_t x, uint32_t y, struct event_sensor sensor, size_t at, struct err *e)
{
    if (x < sensor.w && y < sensor.h) return 0;
    return err_set(e, ERR_DATA, "byte %zu: an event at x %u, y %u, outside %zu x %zu", at, x, y,
                   sensor.w, sensor.h);
}

static int finish(struct event_list *out, size_t at, struct err *e)
{
    if (out->count == 0) return err_set(e, ERR_DATA, "byte %zu: there is no event", at);
    return event_list_sort(out, e);
}

/* ---- AEDAT 2.0 ------------------------------------------------------------------------------- */
int event_parse_aedat2(const uint8_t *bytes, size_t n, struct event_sensor sensor,
                       struct event_list *out, struct err *e)
{
    size_t at = 0;
    out->count = 0;
    if (!line_begins(bytes, n, 0, "#!AER-DAT2.0"))
        return err_set(e, ERR_DATA, "byte 0: does not begin with #!AER-DAT2.0");
    while (at < n && bytes[at] == '#') at = line_end(bytes, n, at);
    if ((n - at) % AEDAT2_BYTES != 0)
        return err_set(e, ERR_DATA, "byte %zu: an event of 8 bytes is cut off",
                       n - (n - at) % AEDAT2_BYTES);
    if (event_list_reserve(out, (n - at) / AEDAT2_BYTES, e) != 0) return (int)e->code;
    for (; at < n; at += AEDAT2_BYTES) {
        const uint32_t address = big32(bytes + at);
        if (address > 0xffff)
            return err_set(e, ERR_DATA, "byte %zu: address %#x, a DVS128 has 16 bits", at, address);
        if ((address & 0x8000) != 0) continue;
        const uint32_t x = 127 - (address >> 8 & 0x7f), y = 127 - (address >> 1 & 0x7f);
        if (check_pixel(x, y, sensor, at, e) != 0) return (int)e->code;
        out->at[out->count++] = (struct event){ big32(bytes + at + 4), (uint16_t)x, (uint16_t)y,
                                                (uint8_t)(1 - (address & 1)) };
    }
    return finish(out, n, e);
}

/* ---- AEDAT 3.1 ------------------------------------------------------------------------------- */
struct packet {
    uint32_t type, size, time_at, overflow, capacity, number;
};

static int read_packet(const uint8_t *bytes, size_t n, size_t at, struct packet *p, struct err *e)
{
    if (n - at < AEDAT3_HEADER)
        return err_set(e, ERR_DATA, "byte %zu: a packet's header is cut off", at);
    const uint8_t *b = bytes + at;
    *p = (struct packet){ little32(b) & 0xffff, little32(b + 4),  little32(b + 8),
                          little32(b + 12),     little32(b + 16), little32(b + 20) };
    const uint64_t payload = (uint64_t)p->size * p->capacity;
    if (payload > n - at - AEDAT3_HEADER)
        return err_set(e, ERR_DATA, "byte %zu: a packet of %u events of %u bytes is cut off", at,
                       p->capacity, p->size);
    if (p->number > p->capacity)
        return err_set(e, ERR_DATA, "byte %zu: %u events in a packet for %u", at + 20, p->number,
                       p->capacity);
    if (p->type == POLARITY && (p->size != AEDAT3_EVENT || p->time_at != 4))
        return err_set(e, ERR_DATA, "byte %zu: polarity events of %u bytes with the time at %u",
                       at + 4, p->size, p->time_at);
    if (p->overflow > INT32_MAX)
        return err_set(e, ERR_DATA, "byte %zu: the clock's overflow is negative", at + 12);
    return 0;
}

static int read_events(const uint8_t *bytes, size_t at, const struct packet *p,
                       struct event_sensor sensor, struct event_list *out, struct err *e)
{
    if (event_list_reserve(out, out->count + p->number, e) != 0) return (int)e->code;
    for (uint32_t i = 0; i < p->number; i++, at += AEDAT3_EVENT) {
        const uint32_t data = little32(bytes + at), time = little32(bytes + at + 4);
        if ((data & 1) == 0) continue; /* not valid */
        const uint32_t x = data >> 17, y = data >> 2 & 0x7fff;
        if (check_pixel(x, y, sensor, at, e) != 0) return (int)e->code;
        if (time > INT32_MAX)
            return err_set(e, ERR_DATA, "byte %zu: the time is negative", at + 4);
        out->at[out->count++] = (struct event){ (int64_t)p->overflow << 31 | time, (uint16_t)x,
                                                (uint16_t)y, data >> 1 & 1 };
    }
    return 0;
}

int event_parse_aedat3(const uint8_t *bytes, size_t n, struct event_sensor sensor,
                       struct event_list *out, struct err *e)
{
    size_t at = 0;
    out->count = 0;
    if (!line_begins(bytes, n, 0, "#!AER-DAT3.1"))
        return err_set(e, ERR_DATA, "byte 0: does not begin with #!AER-DAT3.1");
    while (at < n && bytes[at] == '#' && !line_begins(bytes, n, at, "#!END-HEADER"))
        at = line_end(bytes, n, at);
    if (at == n || bytes[at] != '#')
        return err_set(e, ERR_DATA, "byte %zu: #!END-HEADER is missing", at);
    at = line_end(bytes, n, at);
    while (at < n) {
        struct packet p = { 0 };
        if (read_packet(bytes, n, at, &p, e) != 0) return (int)e->code;
        at += AEDAT3_HEADER;
        if (p.type == POLARITY && read_events(bytes, at, &p, sensor, out, e) != 0)
            return (int)e->code;
        at += (size_t)p.size * p.capacity;
    }
    return finish(out, n, e);
}

/* ---- labels of DVS128 Gesture ---------------------------------------------------------------- */
/* Digits, then `after`; -1 when it is something else or too large. */
static int64_t read_number(const uint8_t *bytes, size_t end, size_t *at, char after)
{
    int64_t v = 0;
    const size_t begin = *at;
    for (; *at < end && bytes[*at] >= '0' && bytes[*at] <= '9'; (*at)++) {
        v = 10 * v + (bytes[*at] - '0');
        if (v > (int64_t)1 << 53) return -1;
    }
    if (*at == begin) return -1;
    if (after == '\n') {
        if (*at < end && bytes[*at] == '\r') (*at)++;
        if (*at == end) return v; /* the last line may lack its newline */
    }
    if (*at == end || bytes[*at] != (uint8_t)after) return -1;
    (*at)++;
    return v;
}

int event_parse_segments(const uint8_t *bytes, size_t n, uint32_t classes,
                         struct event_segment *out, size_t *count, struct err *e)
{
    size_t at = line_end(bytes, n, 0), line = 2;
    *count = 0;
    for (; at < n; line++) {
        const size_t end = line_end(bytes, n, at);
        const int64_t class = read_number(bytes, end, &at, ',');
        const int64_t from = class < 0 ? -1 : read_number(bytes, end, &at, ',');
        const int64_t to = from < 0 ? -1 : read_number(bytes, end, &at, '\n');
        if (to < 0 || at != end)
            return err_set(e, ERR_DATA, "line %zu: is not 'class,start,end'", line);
        if (class < 1 || class > classes)
            return err_set(e, ERR_DATA, "line %zu: class %lld, there are 1 to %u", line,
                           (long long)class, classes);
        if (from >= to)
            return err_set(e, ERR_DATA, "line %zu: ends at %lld, begins at %lld", line,
                           (long long)to, (long long)from);
        if (*count == EVENT_SEGMENTS_MAX)
            return err_set(e, ERR_DATA, "line %zu: more than %d rows", line, EVENT_SEGMENTS_MAX);
        out[(*count)++] = (struct event_segment){ (uint32_t)class - 1, from, to };
    }
    if (*count == 0) return err_set(e, ERR_DATA, "line 2: there is no row");
    return 0;
}
