/* golden_events: golden cases of events into frames, through the functions that the event data sets
 * use (check_golden.h). One thread.
 *
 * The release raises an exception for a window without events. Here such a window is an empty
 * frame, and all events must be counted. Input that the release raises for may also be refused. */
#include "common/mem.h"
#include "worker/data/event_frames.h"
#include "worker/train/golden_case.h"

#include <math.h>
#include <string.h>

#define FRAMES_MAX 4096

struct recording {
    struct event *events;
    size_t n, h, w;
};

/* Input that cannot be integrated: a failure, unless the case raises in the release too. */
static void refuse(struct golden_case *c, const char *why, size_t event)
{
    if (golden_expects(c, "out.frames")) golden_fail(c, "in.x", "event %zu: %s", event, why);
}

/* The four columns of a case; false when one is missing or holds what no event can have. */
static bool read_events(struct golden_case *c, struct recording *r)
{
    static const char *const roles[4] = { "in.t", "in.x", "in.y", "in.p" };
    const float *column[4];
    for (size_t k = 0; k < 4; k++) {
        const struct safetensors_entry *v = golden_tensor(c, roles[k]);
        if (v == NULL || (k > 0 && v->elements != r->n)) {
            golden_fail(c, roles[k], "missing or of another length");
            return false;
        }
        column[k] = v->data;
        r->n = v->elements;
    }
    r->events = mem_calloc(r->n + 1, sizeof r->events[0]);
    for (size_t i = 0; r->events != NULL && i < r->n; i++) {
        const float x = column[1][i], y = column[2][i];
        if (!(x >= 0.0f && x <= 65535.0f && y >= 0.0f && y <= 65535.0f)) {
            refuse(c, "no such pixel", i);
            return false;
        }
        r->events[i] = (struct event){ (int64_t)column[0][i], (uint16_t)x, (uint16_t)y,
                                       column[3][i] != 0.0f };
    }
    if (r->events == NULL) golden_fail(c, "", "out of memory");
    return r->events != NULL;
}

static bool read_rule(struct golden_case *c, struct spec_frames *how)
{
    const char *split = json_get_string(c->hp, "split_by", ""),
               *rule = json_get_string(c->hp, "rule", "");
    if (strcmp(c->op, "fixed_frames") == 0 && strcmp(split, "number") == 0)
        how->split_by = SPEC_SPLIT_NUMBER;
    else if (strcmp(c->op, "fixed_frames") == 0 && strcmp(split, "time") == 0)
        how->split_by = SPEC_SPLIT_TIME;
    else if (strcmp(c->op, "fixed_duration") == 0) how->split_by = SPEC_SPLIT_DURATION;
    else {
        golden_fail(c, "", "no op %s %s", c->op, split);
        return false;
    }
    how->gaps = strcmp(rule, "sj-0.0.0.0.14") == 0 ? SPEC_GAPS_SKIP : SPEC_GAPS_KEEP;
    how->duration_us = json_get_int(c->hp, "duration", 1);
    return true;
}

/* Ranges and counts against the expected tensors. counts and values: [frames][2][h][w]. */
static void compare(struct golden_case *c, const struct recording *r,
                    const struct event_range *range, size_t frames, uint32_t *counts, float *values)
{
    struct err e = { 0 };
    const size_t cells = 2 * r->h * r->w;
    uint64_t seen = 0;
    for (size_t i = 0; i < frames; i++) values[i] = (float)range[i].begin;
    golden_compare(c, "out.j_l", values, frames);
    for (size_t i = 0; i < frames; i++) values[i] = (float)range[i].end;
    golden_compare(c, "out.j_r", values, frames);
    for (size_t i = 0; i < frames; i++)
        if (event_count(r->events, range[i], r->h, r->w, counts + i * cells, &e) != 0) {
            refuse(c, e.text, range[i].begin);
            return;
        }
    for (size_t i = 0; i < frames * cells; i++) {
        seen += counts[i];
        values[i] = (float)counts[i];
    }
    golden_compare(c, "out.frames", values, frames * cells);
    if (seen != r->n) golden_fail(c, "", "%zu events, %zu counted", r->n, (size_t)seen);
}

static void run(struct golden_case *c, const struct spec_frames *how, const struct recording *r)
{
    const size_t frames = how->split_by == SPEC_SPLIT_DURATION
                              ? event_split_count(how, r->events, r->n)
                              : (size_t)json_get_int(c->hp, "frames", 0);
    size_t values;
    if (frames == 0 || frames > FRAMES_MAX || !mem_mul(frames, 2 * r->h * r->w, &values)) {
        golden_fail(c, "", "%zu frames of %zu x %zu", frames, r->h, r->w);
        return;
    }
    struct event_range *range = mem_calloc(frames, sizeof range[0]);
    uint32_t *counts = mem_calloc(values, sizeof counts[0]);
    float *floats = mem_calloc(values, sizeof floats[0]);
    if (range == NULL || counts == NULL || floats == NULL) golden_fail(c, "", "out of memory");
    else if (event_split(how, r->events, r->n, frames, range) != frames)
        golden_fail(c, "", "not %zu frames", frames);
    else compare(c, r, range, frames, counts, floats);
    mem_free(range);
    mem_free(counts);
    mem_free(floats);
}

void golden_run_event(struct golden_case *c)
{
    struct spec_frames how = { 0 };
    struct recording r = { .h = (size_t)json_get_int(c->hp, "H", 0),
                           .w = (size_t)json_get_int(c->hp, "W", 0) };
    if (!read_rule(c, &how)) return;
    if (r.h == 0 || r.h > 65536 || r.w == 0 || r.w > 65536)
        golden_fail(c, "", "sensor of %zu x %zu", r.h, r.w);
    else if (read_events(c, &r)) run(c, &how, &r);
    mem_free(r.events);
}
