/* event_bytes: see event_bytes.h. */
#include "worker/data/event_bytes.h"

#include "common/mem.h"

#include <string.h>

#define ATIS_BYTES 5
#define ATIS_OVERFLOW_Y 240
#define ATIS_OVERFLOW_US 8192

void event_list_deinit(struct event_list *l)
{
    mem_free(l->at);
    *l = (struct event_list){ 0 };
}

int event_list_reserve(struct event_list *l, size_t count, struct err *e)
{
    if (count > EVENT_LIST_MAX)
        return err_set(e, ERR_DATA, "%zu events, at most %zu", count, EVENT_LIST_MAX);
    if (count <= l->capacity) return 0;
    size_t capacity = l->capacity > 0 ? l->capacity : 4096;
    while (capacity < count) capacity *= 2;
    struct event *more = mem_realloc_array(l->at, capacity, sizeof more[0]);
    if (more == NULL) return err_set(e, ERR_NOMEM, "%zu events", capacity);
    l->at = more;
    l->capacity = capacity;
    return 0;
}

/* Two neighbouring runs [a, b) and [b, c) become one. */
static void merge(const struct event *from, size_t a, size_t b, size_t c, struct event *to)
{
    size_t i = a, j = b;
    for (size_t k = a; k < c; k++) {
        const bool left = i < b && (j >= c || from[i].t <= from[j].t);
        to[k] = left ? from[i++] : from[j++];
    }
}

int event_list_sort(struct event_list *l, struct err *e)
{
    const size_t n = l->count;
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++) sorted = l->at[i - 1].t <= l->at[i].t;
    if (sorted) return 0;
    struct event *spare = mem_calloc(n, sizeof spare[0]);
    if (spare == NULL) return err_set(e, ERR_NOMEM, "%zu events", n);
    struct event *from = l->at, *to = spare;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t a = 0; a < n; a += 2 * run)
            merge(from, a, a + run < n ? a + run : n, a + 2 * run < n ? a + 2 * run : n, to);
        struct event *const keep = from;
        from = to;
        to = keep;
    }
    if (from != l->at) memcpy(l->at, from, n * sizeof from[0]);
    mem_free(spare);
    return 0;
}

int event_parse_atis(const uint8_t *bytes, size_t n, struct event_sensor sensor,
                     struct event_list *out, struct err *e)
{
    out->count = 0;
    if (n % ATIS_BYTES != 0)
        return err_set(e, ERR_DATA, "byte %zu: an event of 5 bytes is cut off",
                       n - n % ATIS_BYTES);
    if (event_list_reserve(out, n / ATIS_BYTES, e) != 0) return (int)e->code;
    int64_t overflow = 0;
    for (size_t i = 0; i < n; i += ATIS_BYTES) {
        const uint8_t *b = bytes + i;
        if (b[1] == ATIS_OVERFLOW_Y) {
            overflow += ATIS_OVERFLOW_US;
            continue;
        }
        if (b[0] >= sensor.w || b[1] >= sensor.h)
            return err_set(e, ERR_DATA, "byte %zu: an event at x %d, y %d, outside %zu x %zu", i,
                           b[0], b[1], sensor.w, sensor.h);
        const int64_t t = (int64_t)(b[2] & 0x7f) << 16 | (int64_t)b[3] << 8 | b[4];
        out->at[out->count++] = (struct event){ t + overflow, b[0], b[1], b[2] >> 7 };
    }
    if (out->count == 0) return err_set(e, ERR_DATA, "byte 0: there is no event");
    return event_list_sort(out, e);
}
