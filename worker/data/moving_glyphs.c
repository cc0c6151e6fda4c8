/* moving_glyphs: built-in event data that needs no files: a simulated event camera sees a glyph
 * move over its sensor. Read on any thread, without memory of its own.
 *
 * The glyph, drawn as in glyph_draw.h, drifts along a bent path during 100 ms. Each pixel keeps the
 * brightness it last reported; when the brightness has moved by the pixel's threshold it fires an
 * event (p = 1 brighter, 0 darker) at the time of the crossing and reports again at the next one.
 * Thresholds differ between pixels, and pixels fire without reason now and then, as in a real
 * sensor. Class: the glyph. */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "worker/data/event_frames.h"
#include "worker/data/glyph_draw.h"

#include <string.h>

#define MOVING_SEED 20260102u
#define INSTANTS 40         /* pictures of the simulation */
#define INSTANT_US 2500     /* time between two */
#define EVENTS_MAX 6000     /* what the camera can transmit of one sample; the rest is lost */
#define NOISE_OF_INSTANT 4  /* events without reason between two pictures */

struct moving_dataset {
    struct dataset base;
    struct philox_key key;
    struct spec_frames frames;
};

/* Where the glyph is: start + drift * time, and a bend across. */
struct path {
    float x, y, vx, vy, bend_x, bend_y;
};
struct sensor {
    float seen[GLYPH_PIXELS];      /* brightness last reported */
    float threshold[GLYPH_PIXELS];
    float before[GLYPH_PIXELS], now[GLYPH_PIXELS];
    struct event events[EVENTS_MAX];
    size_t n;
};

static struct path draw_path(struct glyph_dice *d)
{
    const float turn = glyph_roll(d, 0.0f, 1.0f), length = glyph_roll(d, 6.0f, 10.0f);
    const float bend = glyph_roll(d, -2.0f, 2.0f);
    const float c = glyph_wave(turn + 0.25f), s = glyph_wave(turn);
    return (struct path){ -0.5f * length * c, -0.5f * length * s, length * c, length * s,
                          -bend * s, bend * c };
}

static float ink_at(const float *ink, int x, int y)
{
    const bool inside = x >= 0 && x < GLYPH_SIDE && y >= 0 && y < GLYPH_SIDE;
    return inside ? ink[y * GLYPH_SIDE + x] : 0.0f;
}

/* The drawing moved by (dx, dy), bilinear. */
static void picture(const float *ink, float dx, float dy, float *out)
{
    for (int y = 0; y < GLYPH_SIDE; y++)
        for (int x = 0; x < GLYPH_SIDE; x++) {
            const float px = (float)x - dx + 64.0f, py = (float)y - dy + 64.0f; /* above 0 */
            const int ix = (int)px, iy = (int)py;
            const float fx = px - (float)ix, fy = py - (float)iy;
            const float top = (1.0f - fx) * ink_at(ink, ix - 64, iy - 64) +
                              fx * ink_at(ink, ix - 63, iy - 64);
            const float low = (1.0f - fx) * ink_at(ink, ix - 64, iy - 63) +
                              fx * ink_at(ink, ix - 63, iy - 63);
            out[y * GLYPH_SIDE + x] = (1.0f - fy) * top + fy * low;
        }
}

/* Puts an event into its place by time; events of one time stay in the order they came. */
static void fire(struct sensor *s, size_t first, struct event v)
{
    if (s->n == EVENTS_MAX) return;
    size_t at = s->n++;
    for (; at > first && s->events[at - 1].t > v.t; at--) s->events[at] = s->events[at - 1];
    s->events[at] = v;
}

/* Events between two pictures; brightness moves evenly from one to the other. */
static void watch(struct sensor *s, int instant, struct glyph_dice *d)
{
    const size_t first = s->n;
    for (int i = 0; i < GLYPH_PIXELS; i++) {
        const float a = s->before[i], b = s->now[i], step = s->threshold[i];
        const uint16_t x = (uint16_t)(i % GLYPH_SIDE), y = (uint16_t)(i / GLYPH_SIDE);
        while (b - s->seen[i] >= step || s->seen[i] - b >= step) {
            const bool up = b > s->seen[i];
            s->seen[i] += up ? step : -step;
            float part = b != a ? (s->seen[i] - a) / (b - a) : 0.0f;
            part = part < 0.0f ? 0.0f : part > 1.0f ? 1.0f : part;
            const int64_t t = (int64_t)instant * INSTANT_US + (int64_t)(part * (INSTANT_US - 1));
            fire(s, first, (struct event){ t, x, y, up });
        }
    }
    for (int k = 0; k < NOISE_OF_INSTANT; k++) {
        const int64_t t = (int64_t)instant * INSTANT_US +
                          (int64_t)glyph_roll(d, 0.0f, INSTANT_US - 1);
        const uint16_t x = (uint16_t)glyph_roll(d, 0.0f, GLYPH_SIDE);
        const uint16_t y = (uint16_t)glyph_roll(d, 0.0f, GLYPH_SIDE);
        fire(s, first, (struct event){ t, x, y, glyph_roll(d, 0.0f, 1.0f) < 0.5f });
    }
}

static uint32_t moving_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    const struct moving_dataset *m = (const struct moving_dataset *)d;
    return philox_below(m->key, 0, (uint32_t)i, (uint32_t)part, 1, GLYPH_CLASSES);
}

static void record(const struct moving_dataset *m, enum dataset_part part, size_t i,
                   struct sensor *s)
{
    struct glyph_dice dice = { m->key, (uint32_t)i, (uint32_t)part, 0 };
    float ink[GLYPH_PIXELS] = { 0 };
    struct glyph_pose pose = glyph_draw_pose(&dice);
    const struct path path = draw_path(&dice);
    glyph_draw(moving_label(&m->base, part, i), &pose, ink);
    for (int p = 0; p < GLYPH_PIXELS; p++) s->threshold[p] = glyph_roll(&dice, 0.15f, 0.3f);
    picture(ink, path.x, path.y, s->now);
    memcpy(s->seen, s->now, sizeof s->seen);
    s->n = 0;
    for (int k = 1; k <= INSTANTS; k++) {
        const float at = (float)k / INSTANTS, bow = glyph_wave(0.5f * at);
        memcpy(s->before, s->now, sizeof s->before);
        picture(ink, path.x + at * path.vx + bow * path.bend_x,
                path.y + at * path.vy + bow * path.bend_y, s->now);
        watch(s, k - 1, &dice);
    }
}

static void moving_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    const struct moving_dataset *m = (const struct moving_dataset *)d;
    struct sensor s;
    struct event_range ranges[SPEC_TIME_STEPS_MAX];
    uint32_t counts[2 * GLYPH_PIXELS];
    struct err never = { 0 }; /* the sensor's own events lie on it */
    record(m, part, i, &s);
    (void)event_frames_fill(&m->frames, s.events, s.n, d->t, GLYPH_SIDE, GLYPH_SIDE, ranges, counts,
                            out, &never);
}

static uint32_t moving_length(const struct dataset *d, enum dataset_part part, size_t i)
{
    const struct moving_dataset *m = (const struct moving_dataset *)d;
    struct sensor s;
    record(m, part, i, &s);
    return (uint32_t)event_split_length(&m->frames, s.events, s.n, d->t);
}

static void moving_close(struct dataset *d) { mem_free(d); }

static const struct dataset_ops moving_ops = { moving_read, moving_label, moving_close,
                                               moving_length };

int moving_glyphs_open(struct dataset **out, const struct dataset_request *r, struct err *e)
{
    struct moving_dataset *m = mem_calloc(1, sizeof *m);
    if (m == NULL) return err_set(e, ERR_NOMEM, "moving glyphs");
    const struct spec_dataset_info *info = spec_dataset_find("moving-glyphs");
    m->base = (struct dataset){ .ops = &moving_ops, .kind = SPEC_DATA_EVENTS, .t = r->time_steps,
                                .c = 2, .h = GLYPH_SIDE, .w = GLYPH_SIDE,
                                .classes = GLYPH_CLASSES,
                                .count = { (size_t)info->train_count, (size_t)info->test_count },
                                .own_lengths = r->spec->frames.own_lengths };
    m->key = philox_key(MOVING_SEED, PHILOX_GENERATE);
    m->frames = r->spec->frames;
    static const char version[] = "moving glyphs 1"; /* raised when a sample changes */
    digest_bytes(version, sizeof version, m->base.digest);
    *out = &m->base;
    return 0;
}
