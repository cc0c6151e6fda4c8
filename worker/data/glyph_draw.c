/* glyph_draw: see glyph_draw.h. */
#include "worker/data/glyph_draw.h"

#include <math.h>

#define STROKES_MAX 6

struct stroke {
    float x0, y0, x1, y1; /* in a square of [-1, 1] */
};
struct glyph {
    size_t n;
    struct stroke s[STROKES_MAX];
};

/* Ten signs chosen to share strokes, so that single pixels say little. */
static const struct glyph glyphs[GLYPH_CLASSES] = {
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

float glyph_roll(struct glyph_dice *d, float low, float high)
{
    return low + (high - low) * philox_uniform(d->key, d->next++, d->sample, d->part, 0);
}

/* Taylor series around the nearest multiple of a half turn. */
float glyph_wave(float turns)
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

struct glyph_pose glyph_draw_pose(struct glyph_dice *d)
{
    const float turn = glyph_roll(d, -0.085f, 0.085f), size = glyph_roll(d, 6.0f, 10.0f);
    const float aspect = glyph_roll(d, 0.8f, 1.25f), shear = glyph_roll(d, -0.35f, 0.35f);
    const float c = glyph_wave(turn + 0.25f), s = glyph_wave(turn);
    struct glyph_pose p = { 0 };
    p.xx = size * aspect * c;
    p.xy = size * (shear * c - s);
    p.yx = size * aspect * s;
    p.yy = size * (shear * s + c);
    p.dx = glyph_roll(d, 10.0f, 18.0f);
    p.dy = glyph_roll(d, 10.0f, 18.0f);
    p.bend_x = glyph_roll(d, -1.3f, 1.3f);
    p.bend_y = glyph_roll(d, -1.3f, 1.3f);
    p.phase_x = glyph_roll(d, 0.0f, 1.0f);
    p.phase_y = glyph_roll(d, 0.0f, 1.0f);
    p.pen = glyph_roll(d, 0.7f, 1.5f);
    return p;
}

void glyph_draw_line(float x0, float y0, float x1, float y1, float pen, float ink, float *image)
{
    const float vx = x1 - x0, vy = y1 - y0, length2 = vx * vx + vy * vy + 1e-6f;
    for (int y = 0; y < GLYPH_SIDE; y++)
        for (int x = 0; x < GLYPH_SIDE; x++) {
            const float px = (float)x - x0, py = (float)y - y0;
            float at = (px * vx + py * vy) / length2;
            at = at < 0.0f ? 0.0f : at > 1.0f ? 1.0f : at;
            const float ex = px - at * vx, ey = py - at * vy;
            const float over = pen + 0.5f - sqrtf(ex * ex + ey * ey);
            const float value = ink * (over < 0.0f ? 0.0f : over > 1.0f ? 1.0f : over);
            if (value > image[y * GLYPH_SIDE + x]) image[y * GLYPH_SIDE + x] = value;
        }
}

static void place(const struct glyph_pose *p, float x, float y, float *ox, float *oy)
{
    *ox = p->dx + p->xx * x + p->xy * y + p->bend_x * glyph_wave(0.4f * y + p->phase_x);
    *oy = p->dy + p->yx * x + p->yy * y + p->bend_y * glyph_wave(0.4f * x + p->phase_y);
}

/* Strokes are drawn in pieces, so that the bend shows. */
void glyph_draw(size_t number, const struct glyph_pose *p, float *image)
{
    const struct glyph *g = &glyphs[number];
    enum { PIECES = 3 };
    for (size_t i = 0; i < g->n; i++)
        for (int k = 0; k < PIECES; k++) {
            const struct stroke *s = &g->s[i];
            const float a = (float)k / PIECES, b = (float)(k + 1) / PIECES;
            float x0, y0, x1, y1;
            place(p, s->x0 + a * (s->x1 - s->x0), s->y0 + a * (s->y1 - s->y0), &x0, &y0);
            place(p, s->x0 + b * (s->x1 - s->x0), s->y0 + b * (s->y1 - s->y0), &x1, &y1);
            glyph_draw_line(x0, y0, x1, y1, p->pen, 1.0f, image);
        }
}

