/* glyph_draw: ten glyphs of strokes, turned, sheared, scaled, shifted and bent by random numbers of
 * a sample. Shared by the generated data sets; any thread, no memory of its own. Changing a drawing
 * changes their samples: raise the version in their digests. */
#ifndef WORKER_GLYPH_DRAW_H
#define WORKER_GLYPH_DRAW_H

#include "common/philox.h"

#include <stddef.h>

#define GLYPH_SIDE 28
#define GLYPH_CLASSES 10
#define GLYPH_PIXELS (GLYPH_SIDE * GLYPH_SIDE)

/* Random numbers of one sample, one after the other. */
struct glyph_dice {
    struct philox_key key;
    uint32_t sample, part;
    uint64_t next;
};
float glyph_roll(struct glyph_dice *d, float low, float high); /* in [low, high) */

/* How the square of a glyph comes onto the image. */
struct glyph_pose {
    float xx, xy, yx, yy, dx, dy; /* affine, in pixels */
    float bend_x, bend_y, phase_x, phase_y;
    float pen; /* half width, in pixels */
};
struct glyph_pose glyph_draw_pose(struct glyph_dice *d);
/* Ink of a glyph on image [GLYPH_SIDE][GLYPH_SIDE], the larger of it and what is there. */
void glyph_draw(size_t number, const struct glyph_pose *p, float *image);
/* A segment: `ink` within the pen, falling to 0 over one pixel. */
void glyph_draw_line(float x0, float y0, float x1, float y1, float pen, float ink, float *image);
/* sin(2 pi turns) by plain operations: the same bits on every machine; error below 1e-6. */
float glyph_wave(float turns);

#endif
