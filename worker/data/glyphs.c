/* glyphs: a built-in image problem that needs no files: ten glyphs of strokes, each sample turned,
 * sheared, scaled, shifted and bent by its own random numbers, drawn with its own pen, with stray
 * strokes and noise. Pixels move so much that a linear classifier fails; shapes stay readable.
 * Read on any thread. Training and test samples come from separate streams (design 5.9). */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "common/philox.h"

#include <math.h>
#include <string.h>

#define SIDE 28
#define CLASSES 10
#define STROKES_MAX 6
#define GLYPHS_SEED 20260101u
#define STRAYS 2

struct stroke {
    float x0, y0, x1, y1; /* in a square of [-1, 1] */
};
struct glyph {
    size_t n;
    struct stroke s[STROKES_MAX];
};

/* Ten signs chosen to share strokes, so that single pixels say little. */
static const struct glyph glyphs[CLASSES] = {
    { 3, { { -.7f, .8f, 0, -.8f }, { 0, -.8f, .7f, .8f }, { -.35f, .1f, .35f, .1f } } },
    { 3, { { -.6f, -.8f, -.6f, .8f }, { -.6f, -.8f, .6f, -.8f }, { -.6f, 0, .4f, 0 } } },
    { 3, { { -.6f, -.8f, -.6f, .8f }, { .6f, -.8f, .6f, .8f }, { -.6f, 0, .6f, 0 } } },
    { 3, { { -.6f, -.8f, -.6f, .8f }, { .6f, -.8f, .6f, .8f }, { -.6f, -.8f, .6f, .8f } } },
    { 3, { { -.6f, -.8f, .6f, -.8f }, { .6f, -.8f, -.6f, .8f }, { -.6f, .8f, .6f, .8f } } },
    { 2, { { -.7f, -.8f, .7f, .8f }, { .7f, -.8f, -.7f, .8f } } },
    { 3, { { -.7f, -.8f, 0, 0 }, { .7f, -.8f, 0, 0 }, { 0, 0, 0, .8f } } },
    { 4, { { -.6f, -.8f, .6f, -.8f }, { .6f, -.8f, .6f, .8f }, { .6f, .8f, -.6f, .8f },
           { -.6f, .8f, -.6f, -.8f } } },
    { 3, { { 0, -.8f, .7f, .7f }, { .7f, .7f, -.7f, .7f }, { -.7f, .7f, 0, -.8f } } },
    { 2, { { -.6f, -.8f, -.6f, .8f }, { -.6f, .8f, .6f, .8f } } },
};

struct glyphs_dataset {
    struct dataset base;
    struct philox_key key;
};

/* Numbers of one sample, in [low, high). */
struct dice {
    struct philox_key key;
    uint32_t sample, part;
    uint64_t next;
};

static float roll(struct dice *d, float low, float high)
{
    return low + (high - low) * philox_uniform(d->key, d->next++, d->sample, d->part, 0);
}

/* How the square of a glyph comes onto the image. */
struct pose {
    float xx, xy, yx, yy, dx, dy; /* affine, in pixels */
    float bend_x, bend_y, phase_x, phase_y;
    float pen; /* half width, in pixels */
};

/* A sine by its Taylor series around the nearest multiple of a half turn: plain operations, the
 * same bits on every machine. Error below 1e-6. */
static float wave(float turns)
{
    turns -= floorf(turns);
    float sign = 1.0f;
    if (turns >= 0.5f) {
        turns -= 0.5f;
        sign = -1.0f;
    }
    if (turns > 0.25f) turns = 0.5f - turns;
    const float a = 6.2831853f * turns, q = a * a;
    return sign * a *
           (1.0f - q / 6.0f * (1.0f - q / 20.0f * (1.0f - q / 42.0f * (1.0f - q / 72.0f))));
}

static struct pose draw_pose(struct dice *d)
{
    const float turn = roll(d, -0.085f, 0.085f), size = roll(d, 6.0f, 10.0f);
    const float aspect = roll(d, 0.8f, 1.25f), shear = roll(d, -0.35f, 0.35f);
    const float c = wave(turn + 0.25f), s = wave(turn);
    struct pose p = { 0 };
    p.xx = size * aspect * c;
    p.xy = size * (shear * c - s);
    p.yx = size * aspect * s;
    p.yy = size * (shear * s + c);
    p.dx = roll(d, 10.0f, 18.0f);
    p.dy = roll(d, 10.0f, 18.0f);
    p.bend_x = roll(d, -1.3f, 1.3f);
    p.bend_y = roll(d, -1.3f, 1.3f);
    p.phase_x = roll(d, 0.0f, 1.0f);
    p.phase_y = roll(d, 0.0f, 1.0f);
    p.pen = roll(d, 0.7f, 1.5f);
    return p;
}

/* Ink of a segment on every pixel: 1 within the pen, falling to 0 over one pixel. */
static void draw_line(float x0, float y0, float x1, float y1, float pen, float ink, float *image)
{
    const float vx = x1 - x0, vy = y1 - y0, length2 = vx * vx + vy * vy + 1e-6f;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const float px = (float)x - x0, py = (float)y - y0;
            float at = (px * vx + py * vy) / length2;
            at = at < 0.0f ? 0.0f : at > 1.0f ? 1.0f : at;
            const float ex = px - at * vx, ey = py - at * vy;
            const float over = pen + 0.5f - sqrtf(ex * ex + ey * ey);
            const float value = ink * (over < 0.0f ? 0.0f : over > 1.0f ? 1.0f : over);
            if (value > image[y * SIDE + x]) image[y * SIDE + x] = value;
        }
}

static void place(const struct pose *p, float x, float y, float *ox, float *oy)
{
    *ox = p->dx + p->xx * x + p->xy * y + p->bend_x * wave(0.4f * y + p->phase_x);
    *oy = p->dy + p->yx * x + p->yy * y + p->bend_y * wave(0.4f * x + p->phase_y);
}

/* Strokes are drawn in pieces, so that the bend shows. */
static void draw_glyph(const struct glyph *g, const struct pose *p, float *image)
{
    enum { PIECES = 3 };
    for (size_t i = 0; i < g->n; i++)
        for (int k = 0; k < PIECES; k++) {
            const struct stroke *s = &g->s[i];
            const float a = (float)k / PIECES, b = (float)(k + 1) / PIECES;
            float x0, y0, x1, y1;
            place(p, s->x0 + a * (s->x1 - s->x0), s->y0 + a * (s->y1 - s->y0), &x0, &y0);
            place(p, s->x0 + b * (s->x1 - s->x0), s->y0 + b * (s->y1 - s->y0), &x1, &y1);
            draw_line(x0, y0, x1, y1, p->pen, 1.0f, image);
        }
}

static struct dice dice_of(const struct glyphs_dataset *g, enum dataset_part part, size_t i)
{
    return (struct dice){ g->key, (uint32_t)i, (uint32_t)part, 0 };
}

static uint32_t glyphs_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    const struct glyphs_dataset *g = (const struct glyphs_dataset *)d;
    return philox_below(g->key, 0, (uint32_t)i, (uint32_t)part, 1, CLASSES);
}

static void glyphs_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    struct dice dice = dice_of((const struct glyphs_dataset *)d, part, i);
    memset(out, 0, SIDE * SIDE * sizeof out[0]);
    const struct pose pose = draw_pose(&dice);
    draw_glyph(&glyphs[glyphs_label(d, part, i)], &pose, out);
    for (int k = 0; k < STRAYS; k++) {
        const float x = roll(&dice, 0.0f, SIDE), y = roll(&dice, 0.0f, SIDE);
        const float dx = roll(&dice, -5.0f, 5.0f), dy = roll(&dice, -5.0f, 5.0f);
        draw_line(x, y, x + dx, y + dy, 0.7f, roll(&dice, 0.3f, 0.8f), out);
    }
    for (int k = 0; k < SIDE * SIDE; k++) {
        const float v = out[k] + roll(&dice, -0.12f, 0.12f);
        out[k] = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
    }
}

static void glyphs_close(struct dataset *d) { mem_free(d); }

static const struct dataset_ops glyphs_ops = { glyphs_read, glyphs_label, glyphs_close };

int glyphs_open(struct dataset **out, struct err *e)
{
    struct glyphs_dataset *g = mem_calloc(1, sizeof *g);
    if (g == NULL) return err_set(e, ERR_NOMEM, "glyphs");
    const struct spec_dataset_info *info = spec_dataset_find("glyphs");
    g->base = (struct dataset){ .ops = &glyphs_ops, .c = 1, .h = SIDE, .w = SIDE,
                                .classes = CLASSES,
                                .count = { (size_t)info->train_count, (size_t)info->test_count } };
    g->key = philox_key(GLYPHS_SEED, PHILOX_GENERATE);
    static const char version[] = "glyphs 1"; /* raised when a sample changes */
    digest_bytes(version, sizeof version, g->base.digest);
    *out = &g->base;
    return 0;
}
