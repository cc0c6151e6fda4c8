/* event_frames: see event_frames.h. Definitions: golden/README.md, section event. */
#include "worker/data/event_frames.h"

#include <string.h>

static void split_number(size_t n, size_t frames, struct event_range *out)
{
    const size_t each = n / frames;
    for (size_t i = 0; i < frames; i++) out[i] = (struct event_range){ i * each, (i + 1) * each };
    out[frames - 1].end = n;
}

static void split_time(const struct event *events, size_t n, size_t frames, struct event_range *out)
{
    const int64_t first = n > 0 ? events[0].t : 0;
    const int64_t width = n > 0 ? (events[n - 1].t - first) / (int64_t)frames : 0;
    size_t at = 0;
    for (size_t i = 0; i < frames; i++) {
        const int64_t end = first + width * (int64_t)(i + 1);
        out[i].begin = at;
        while (at < n && events[at].t < end) at++;
        out[i].end = at;
    }
    out[frames - 1].end = n;
}

/* Ranges of the grid that covers the events; the last grid line belongs to the last range. */
static size_t grid_frames(const struct event *events, size_t n, int64_t width)
{
    if (n == 0) return 0;
    const uint64_t span = (uint64_t)(events[n - 1].t - events[0].t), w = (uint64_t)width;
    const size_t frames = (size_t)(span / w + (span % w != 0));
    return frames > 0 ? frames : 1;
}

static size_t split_grid(const struct event *events, size_t n, int64_t width, size_t frames_max,
                         struct event_range *out)
{
    const size_t all = grid_frames(events, n, width), kept = all < frames_max ? all : frames_max;
    size_t at = 0;
    for (size_t i = 0; i < kept; i++) {
        out[i].begin = at;
        while (at < n && (i + 1 == all || (events[at].t - events[0].t) / width <= (int64_t)i)) at++;
        out[i].end = at;
    }
    return kept;
}

/* End of the range that begins at event `begin`. */
static size_t greedy_end(const struct event *events, size_t n, int64_t width, size_t begin)
{
    size_t end = begin;
    while (end < n && events[end].t - events[begin].t <= width) end++;
    return end;
}

static size_t split_greedy(const struct event *events, size_t n, int64_t width, size_t frames_max,
                           struct event_range *out)
{
    size_t frames = 0;
    for (size_t at = 0; at < n && frames < frames_max; frames++) {
        out[frames] = (struct event_range){ at, greedy_end(events, n, width, at) };
        at = out[frames].end;
    }
    return frames;
}

size_t event_split(const struct spec_frames *how, const struct event *events, size_t n,
                   size_t frames_max, struct event_range *out)
{
    if (frames_max == 0) return 0;
    switch (how->split_by) {
    case SPEC_SPLIT_NUMBER: split_number(n, frames_max, out); return frames_max;
    case SPEC_SPLIT_TIME: split_time(events, n, frames_max, out); return frames_max;
    case SPEC_SPLIT_DURATION:
        if (how->gaps == SPEC_GAPS_SKIP)
            return split_greedy(events, n, how->duration_us, frames_max, out);
        return split_grid(events, n, how->duration_us, frames_max, out);
    }
    return 0;
}

size_t event_split_count(const struct spec_frames *how, const struct event *events, size_t n)
{
    if (how->gaps == SPEC_GAPS_KEEP) return grid_frames(events, n, how->duration_us);
    size_t frames = 0;
    for (size_t at = 0; at < n; frames++) at = greedy_end(events, n, how->duration_us, at);
    return frames;
}

size_t event_split_length(const struct spec_frames *how, const struct event *events, size_t n,
                          size_t frames)
{
    if (how->split_by != SPEC_SPLIT_DURATION) return frames;
    const size_t all = event_split_count(how, events, n);
    return all == 0 ? 1 : all < frames ? all : frames;
}

int event_count(const struct event *events, struct event_range range, size_t h, size_t w,
                uint32_t *counts, struct err *e)
{
    for (size_t i = range.begin; i < range.end; i++) {
        const struct event *v = &events[i];
        if (v->x >= w || v->y >= h)
            return err_set(e, ERR_DATA, "event %zu is at x %u, y %u, outside %zu x %zu pixels", i,
                           v->x, v->y, w, h);
        counts[((v->p != 0 ? h : 0) + v->y) * w + v->x]++;
    }
    return 0;
}

int event_frames_fill(const struct spec_frames *how, const struct event *events, size_t n,
                      size_t frames, size_t h, size_t w, struct event_range *ranges,
                      uint32_t *counts, float *out, struct err *e)
{
    const size_t cells = 2 * h * w, found = event_split(how, events, n, frames, ranges);
    for (size_t f = 0; f < frames; f++) {
        memset(counts, 0, cells * sizeof counts[0]);
        if (f < found && event_count(events, ranges[f], h, w, counts, e) != 0) return (int)e->code;
        for (size_t i = 0; i < cells; i++) out[f * cells + i] = (float)counts[i];
    }
    return 0;
}
