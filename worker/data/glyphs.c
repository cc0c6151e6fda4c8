/* glyphs: a built-in image problem that needs no files: ten glyphs of strokes, each sample turned,
 * sheared, scaled, shifted and bent by its own random numbers, drawn with its own pen, with stray
 * strokes and noise. Pixels move so much that a linear classifier fails; shapes stay readable.
 * Read on any thread. Training and test samples come from separate streams (design 5.9). */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "common/philox.h"
#include "worker/data/glyph_draw.h"

#include <string.h>

#define GLYPHS_SEED 20260101u
#define STRAYS 2

struct glyphs_dataset {
    struct dataset base;
    struct philox_key key;
};

static struct glyph_dice dice_of(const struct glyphs_dataset *g, enum dataset_part part, size_t i)
{
    return (struct glyph_dice){ g->key, (uint32_t)i, (uint32_t)part, 0 };
}

static uint32_t glyphs_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    const struct glyphs_dataset *g = (const struct glyphs_dataset *)d;
    return philox_below(g->key, 0, (uint32_t)i, (uint32_t)part, 1, GLYPH_CLASSES);
}

static void glyphs_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    struct glyph_dice dice = dice_of((const struct glyphs_dataset *)d, part, i);
    memset(out, 0, GLYPH_PIXELS * sizeof out[0]);
    const struct glyph_pose pose = glyph_draw_pose(&dice);
    glyph_draw(glyphs_label(d, part, i), &pose, out);
    for (int k = 0; k < STRAYS; k++) {
        const float x = glyph_roll(&dice, 0.0f, GLYPH_SIDE);
        const float y = glyph_roll(&dice, 0.0f, GLYPH_SIDE);
        const float dx = glyph_roll(&dice, -5.0f, 5.0f), dy = glyph_roll(&dice, -5.0f, 5.0f);
        glyph_draw_line(x, y, x + dx, y + dy, 0.7f, glyph_roll(&dice, 0.3f, 0.8f), out);
    }
    for (int k = 0; k < GLYPH_PIXELS; k++) {
        const float v = out[k] + glyph_roll(&dice, -0.12f, 0.12f);
        out[k] = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
    }
}

static void glyphs_close(struct dataset *d) { mem_free(d); }

static const struct dataset_ops glyphs_ops = { glyphs_read, glyphs_label, glyphs_close, NULL };

int glyphs_open(struct dataset **out, struct err *e)
{
    struct glyphs_dataset *g = mem_calloc(1, sizeof *g);
    if (g == NULL) return err_set(e, ERR_NOMEM, "glyphs");
    const struct spec_dataset_info *info = spec_dataset_find("glyphs");
    g->base = (struct dataset){ .ops = &glyphs_ops, .t = 1, .c = 1,
                                .h = GLYPH_SIDE, .w = GLYPH_SIDE,
                                .classes = GLYPH_CLASSES,
                                .count = { (size_t)info->train_count, (size_t)info->test_count } };
    g->key = philox_key(GLYPHS_SEED, PHILOX_GENERATE);
    static const char version[] = "glyphs 1"; /* raised when a sample changes */
    digest_bytes(version, sizeof version, g->base.digest);
    *out = &g->base;
    return 0;
}
