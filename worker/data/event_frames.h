/* event_frames: events of a camera into frames of counts, the way SpikingJelly does it. Pure: no
 * allocation, any thread. Used by the event data sets and by check-golden.
 *
 * A frame is [2][H][W]: channel 0 counts events with p = 0, channel 1 all others. Every rule first
 * cuts the events, which are ordered by time, into ranges; then each range is counted. */
#ifndef WORKER_EVENT_FRAMES_H
#define WORKER_EVENT_FRAMES_H

#include "common/err.h"
#include "common/spec.h"

#include <stddef.h>
#include <stdint.h>

struct event {
    int64_t t; /* microseconds */
    uint16_t x, y;
    uint8_t p; /* 0: darker, else brighter */
};
struct event_range {
    size_t begin, end; /* events [begin, end) */
};

/* Cuts n events into at most frames_max ranges and returns how many there are.
 *   number    frames_max ranges of n div frames_max events, the rest in the last one
 *   time      frames_max ranges of (t_last - t_first) div frames_max microseconds, half open; the
 *             last one has everything up to the end; a window without events is an empty range
 *   duration  gaps kept: a grid of duration_us from the first event on; ranges without events stay,
 *             an event exactly at the end belongs to the last range, and events of one time make
 *             one range. Gaps skipped: a range begins at its first event and has all with
 *             t - t_begin <= duration_us, so that time without events vanishes
 * With a duration, ranges beyond frames_max are left out.
 * n = 0: number and time give empty ranges, the others none. */
size_t event_split(const struct spec_frames *how, const struct event *events, size_t n,
                   size_t frames_max, struct event_range *out);
/* Ranges that the durations would give without a limit. */
size_t event_split_count(const struct spec_frames *how, const struct event *events, size_t n);
/* Frames of a sample that has `frames` of them, those without events behind its last one left out;
 * at least 1. */
size_t event_split_length(const struct spec_frames *how, const struct event *events, size_t n,
                          size_t frames);
/* Adds the events of a range to counts [2][h][w]. Errors: ERR_DATA (an event outside the sensor,
 * named by its number; counts are then undefined). */
int event_count(const struct event *events, struct event_range range, size_t h, size_t w,
                uint32_t *counts, struct err *e);
/* A whole sample: `frames` frames as floats [frames][2][h][w], zeros where there are no events.
 * scratch: `frames` ranges and 2 * h * w counts. Errors: ERR_DATA, see event_count. */
int event_frames_fill(const struct spec_frames *how, const struct event *events, size_t n,
                      size_t frames, size_t h, size_t w, struct event_range *ranges,
                      uint32_t *counts, float *out, struct err *e);

#endif
