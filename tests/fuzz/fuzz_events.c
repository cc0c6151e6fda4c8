/* fuzz_events: any bytes as a recording of address events. What is accepted lies on the sensor, is
 * ordered by time, and every rule for frames counts each event once. The first byte chooses the
 * format. Run by libFuzzer. */
#include "common/mem.h"
#include "worker/data/event_aedat.c" /* the fuzzers are linked with common/ only */
#include "worker/data/event_bytes.c"
#include "worker/data/event_frames.c"

#include <stdlib.h>

#define H 34
#define W 34
#define AEDAT_SIDE 128
#define FRAMES 5

static void check(const struct event_list *l, size_t h, size_t w)
{
    static const struct spec_frames rules[] = {
        { .split_by = SPEC_SPLIT_NUMBER },
        { .split_by = SPEC_SPLIT_TIME },
        { .split_by = SPEC_SPLIT_DURATION, .duration_us = 1000, .gaps = SPEC_GAPS_KEEP },
        { .split_by = SPEC_SPLIT_DURATION, .duration_us = 1000, .gaps = SPEC_GAPS_SKIP },
    };
    if (l->count == 0) abort();
    for (size_t i = 1; i < l->count; i++)
        if (l->at[i - 1].t > l->at[i].t) abort();
    for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
        struct event_range ranges[FRAMES];
        static uint32_t counts[2 * AEDAT_SIDE * AEDAT_SIDE];
        static float out[FRAMES * 2 * AEDAT_SIDE * AEDAT_SIDE];
        struct err e = { 0 };
        double sum = 0;
        if (event_frames_fill(&rules[k], l->at, l->count, FRAMES, h, w, ranges, counts, out, &e) !=
            0)
            abort();
        for (size_t i = 0; i < FRAMES * 2 * h * w; i++) sum += (double)out[i];
        const bool limited = rules[k].split_by == SPEC_SPLIT_DURATION;
        if (sum > (double)l->count || (!limited && sum != (double)l->count)) abort();
    }
}

static void check_segments(const uint8_t *bytes, size_t n)
{
    static struct event_segment s[EVENT_SEGMENTS_MAX];
    struct err e = { 0 };
    size_t count;
    if (event_parse_segments(bytes, n, 11, s, &count, &e) != 0) return;
    if (count == 0 || count > EVENT_SEGMENTS_MAX) abort();
    for (size_t i = 0; i < count; i++)
        if (s[i].class > 10 || s[i].begin < 0 || s[i].begin >= s[i].end) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static event_parse_fn *const formats[] = { event_parse_atis, event_parse_aedat2,
                                              event_parse_aedat3 };
    const struct event_sensor sensors[] = { { H, W }, { AEDAT_SIDE, AEDAT_SIDE },
                                            { AEDAT_SIDE, AEDAT_SIDE } };
    struct event_list l = { 0 };
    struct err e = { 0 };
    if (size == 0) return 0;
    /* An own copy: reading beyond it is seen. */
    uint8_t *bytes = mem_alloc(size);
    if (bytes == NULL) return 0;
    memcpy(bytes, data + 1, size - 1);
    const size_t format = data[0] % 4;
    if (format == 3) check_segments(bytes, size - 1);
    else if (formats[format](bytes, size - 1, sensors[format], &l, &e) == 0)
        check(&l, sensors[format].h, sensors[format].w);
    else if (e.code != ERR_DATA && e.code != ERR_NOMEM) abort();
    event_list_deinit(&l);
    mem_free(bytes);
    return 0;
}
