/* Events into frames: every rule against its definition, event by event; borders, empty windows and
 * what lies outside the sensor. */
#include "common/philox.h"
#include "worker/data/event_frames.h"

#include <criterion/criterion.h>
#include <string.h>

#define EVENTS 60
#define FRAMES 64
#define H 3
#define W 4

static const struct spec_frames rules[] = {
    { .split_by = SPEC_SPLIT_NUMBER },
    { .split_by = SPEC_SPLIT_TIME },
    { .split_by = SPEC_SPLIT_DURATION, .duration_us = 7, .gaps = SPEC_GAPS_KEEP },
    { .split_by = SPEC_SPLIT_DURATION, .duration_us = 7, .gaps = SPEC_GAPS_SKIP },
};
#define RULES (sizeof rules / sizeof rules[0])

/* n events with steps of 0 .. step - 1 between them. */
static void draw(struct event *v, size_t n, uint32_t step, uint32_t number)
{
    const struct philox_key key = philox_key(3, PHILOX_BENCH);
    int64_t t = 1000;
    for (uint32_t i = 0; i < n; i++) {
        t += philox_below(key, 0, i, number, 0, step);
        v[i] = (struct event){ t, (uint16_t)philox_below(key, 1, i, number, 0, W),
                               (uint16_t)philox_below(key, 2, i, number, 0, H),
                               (uint8_t)philox_below(key, 3, i, number, 0, 2) };
    }
}

/* Frame of event i by the definition alone, and how many frames there are. */
static size_t frame_of(const struct spec_frames *how, const struct event *v, size_t n,
                       size_t frames, size_t i, size_t *count)
{
    const int64_t span = v[n - 1].t - v[0].t, q = v[i].t - v[0].t, d = how->duration_us;
    size_t at;
    *count = frames;
    if (how->split_by == SPEC_SPLIT_NUMBER) at = n / frames > 0 ? i / (n / frames) : frames - 1;
    else if (how->split_by == SPEC_SPLIT_TIME) {
        const int64_t width = span / (int64_t)frames;
        at = width > 0 ? (size_t)(q / width) : frames - 1;
    } else if (how->gaps == SPEC_GAPS_KEEP) {
        *count = span == 0 ? 1 : (size_t)((span + d - 1) / d);
        at = (size_t)(q / d);
    } else {
        size_t begin = 0, number = 0, of_i = 0;
        for (size_t k = 0; k < n; k++) {
            if (v[k].t - v[begin].t > d) {
                begin = k;
                number++;
            }
            if (k == i) of_i = number;
        }
        *count = number + 1;
        return of_i;
    }
    return at < *count ? at : *count - 1;
}

/* Goal: each rule puts every event where its definition says, for many recordings. */
Test(event_frames, every_rule_does_what_its_definition_says, .timeout = 20)
{
    struct event v[EVENTS];
    struct event_range r[FRAMES * 8];
    for (uint32_t round = 0; round < 300; round++) {
        const size_t n = 1 + round % EVENTS, frames = 1 + round % 9;
        draw(v, n, 1 + round % 13, round);
        for (size_t k = 0; k < RULES; k++) {
            const bool limited = rules[k].split_by != SPEC_SPLIT_DURATION;
            size_t want;
            (void)frame_of(&rules[k], v, n, frames, 0, &want);
            if (!limited) cr_assert_eq(event_split_count(&rules[k], v, n), want);
            const size_t got = event_split(&rules[k], v, n, limited ? frames : FRAMES * 8, r);
            cr_assert_eq(got, want, "round %u rule %zu: %zu of %zu", round, k, got, want);
            for (size_t i = 0; i < n; i++) {
                const size_t f = frame_of(&rules[k], v, n, frames, i, &want);
                cr_assert(i >= r[f].begin && i < r[f].end, "round %u rule %zu event %zu frame %zu",
                          round, k, i, f);
            }
            size_t sum = 0;
            for (size_t f = 0; f < got; f++) sum += r[f].end - r[f].begin;
            cr_assert_eq(sum, n);
        }
    }
}

/* Goal: with a limit of frames the first ones are the same and nothing is written beyond. */
Test(event_frames, durations_stop_at_the_limit)
{
    struct event v[EVENTS];
    draw(v, EVENTS, 9, 1);
    for (size_t k = 2; k < RULES; k++) {
        struct event_range all[FRAMES * 8], some[4];
        memset(some, 0xee, sizeof some);
        const size_t n = event_split(&rules[k], v, EVENTS, FRAMES * 8, all);
        cr_assert_gt(n, 3);
        cr_assert_eq(event_split(&rules[k], v, EVENTS, 3, some), 3);
        cr_assert_arr_eq(some, all, 3 * sizeof some[0]);
        cr_assert_eq(some[3].begin, (size_t)0xeeeeeeeeeeeeeeee);
    }
}

/* Goal: a sample of durations is as long as it has frames, at least one; others have all. */
Test(event_frames, durations_have_lengths)
{
    struct event v[EVENTS];
    draw(v, EVENTS, 5, 1);
    for (size_t k = 0; k < RULES; k++)
        for (size_t frames = 1; frames < FRAMES; frames++)
            for (size_t n = 0; n <= EVENTS; n += 12) {
                struct event_range ranges[FRAMES];
                const size_t found = event_split(&rules[k], v, n, frames, ranges);
                const size_t want = rules[k].split_by != SPEC_SPLIT_DURATION ? frames : found;
                cr_assert_eq(event_split_length(&rules[k], v, n, frames), want > 0 ? want : 1);
            }
}

/* Goal: a recording without events, or with events of one time, has a meaning under every rule. */
Test(event_frames, no_events_and_no_time)
{
    const struct event same[3] = { { 7, 0, 0, 1 }, { 7, 1, 0, 1 }, { 7, 0, 1, 0 } };
    struct event_range r[FRAMES];
    for (size_t k = 0; k < RULES; k++) {
        const bool limited = rules[k].split_by != SPEC_SPLIT_DURATION;
        cr_assert_eq(event_split(&rules[k], same, 0, 5, r), limited ? 5 : 0);
        for (size_t i = 0; limited && i < 5; i++) cr_assert_eq(r[i].end, 0);
        const size_t n = event_split(&rules[k], same, 3, 5, r);
        cr_assert_eq(n, limited ? 5 : 1);
        cr_assert_eq(r[n - 1].end - r[n - 1].begin, 3, "rule %zu", k);
    }
}

/* Goal: counts land in [polarity][y][x]; an event outside the sensor is refused by number. */
Test(event_frames, counts_and_what_lies_outside)
{
    const struct event v[4] = { { 0, 3, 2, 0 }, { 1, 3, 2, 1 }, { 2, 3, 2, 255 }, { 3, 0, 3, 1 } };
    uint32_t counts[2 * H * W] = { 0 };
    struct err e = { 0 };
    cr_assert_eq(event_count(v, (struct event_range){ 0, 3 }, H, W, counts, &e), 0);
    cr_assert_eq(counts[2 * W + 3], 1);
    cr_assert_eq(counts[(H + 2) * W + 3], 2);
    cr_assert_eq(event_count(v, (struct event_range){ 3, 4 }, H, W, counts, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "event 3 is at x 0, y 3"), "%s", e.text);
    const struct event wide = { 0, W, 0, 0 };
    cr_assert_eq(event_count(&wide, (struct event_range){ 0, 1 }, H, W, counts, &e), ERR_DATA);
}
