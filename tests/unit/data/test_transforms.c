/* Crops, flips and normalisation of one image: what they do, how often, and what decides it. */
#include "worker/data/transforms.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define C 2
#define H 5
#define W 6
#define PIXELS (C * H * W)

/* Every pixel another value, none of them 0. */
static void picture(float p[PIXELS])
{
    for (int i = 0; i < PIXELS; i++) p[i] = (float)(i + 1);
}

static struct sample_place place(uint32_t index, uint32_t epoch)
{
    return (struct sample_place){ philox_key(9, PHILOX_AUGMENT), index, epoch, C, H, W };
}

static void transform(const struct spec_dataset *spec, uint32_t index, uint32_t epoch,
                      float p[PIXELS])
{
    float spare[PIXELS];
    const struct sample_place at = place(index, epoch);
    picture(p);
    transforms_apply(spec, &at, p, spare);
}

static bool is_shifted(const float p[PIXELS], int dy, int dx)
{
    float plain[PIXELS];
    picture(plain);
    for (int c = 0; c < C; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                const bool in = y + dy >= 0 && y + dy < H && x + dx >= 0 && x + dx < W;
                if (p[(c * H + y) * W + x] != (in ? plain[(c * H + y + dy) * W + x + dx] : 0.0f))
                    return false;
            }
    return true;
}

/* Goal: a crop shifts all channels alike by up to its padding, with zeros moved in, every shift
 * about equally often. */
Test(transforms, crop)
{
    const struct spec_dataset spec = { .transforms = { { .type = SPEC_RANDOM_CROP, .padding = 1 } },
                                       .n_transforms = 1 };
    int seen[3][3] = { { 0 } };
    for (uint32_t i = 0; i < 1800; i++) {
        float p[PIXELS];
        int matches = 0;
        transform(&spec, i, 0, p);
        for (int dy = -1; dy <= 1; dy++)
            for (int dx = -1; dx <= 1; dx++)
                if (is_shifted(p, dy, dx)) {
                    matches++;
                    seen[dy + 1][dx + 1]++;
                }
        cr_assert_eq(matches, 1, "sample %u is no shift", i);
    }
    for (int k = 0; k < 9; k++) /* 200 expected, deviation 13 */
        cr_assert(abs(seen[k / 3][k % 3] - 200) < 60, "shift %d: %d", k, seen[k / 3][k % 3]);
}

/* Goal: a flip mirrors rows of all channels, about as often as p says, never and always at 0 and
 * 1. */
Test(transforms, flip)
{
    static const double ps[] = { 0, 0.25, 1 };
    for (int k = 0; k < 3; k++) {
        const struct spec_dataset spec = {
            .transforms = { { .type = SPEC_HORIZONTAL_FLIP, .p = ps[k] } }, .n_transforms = 1
        };
        int flipped = 0;
        for (uint32_t i = 0; i < 2000; i++) {
            float p[PIXELS], plain[PIXELS];
            picture(plain);
            transform(&spec, i, 3, p);
            const bool mirrored = p[0] == plain[W - 1];
            flipped += mirrored;
            for (int j = 0; j < PIXELS; j++)
                cr_assert_eq(p[j], plain[mirrored ? j / W * W + W - 1 - j % W : j]);
        }
        cr_assert(fabs(flipped - 2000 * ps[k]) <= (k == 1 ? 80 : 0), "p %g: %d", ps[k], flipped);
    }
}

/* Goal: the result is a function of index and epoch; two transforms of one kind draw apart. */
Test(transforms, depends_on_index_epoch_and_number)
{
    const struct spec_dataset one = { .transforms = { { .type = SPEC_RANDOM_CROP, .padding = 2 } },
                                      .n_transforms = 1 };
    const struct spec_dataset two = { .transforms = { { .type = SPEC_RANDOM_CROP, .padding = 2 },
                                                      { .type = SPEC_RANDOM_CROP, .padding = 2 } },
                                      .n_transforms = 2 };
    int same_epoch = 0, same_index = 0, twice = 0;
    for (uint32_t i = 0; i < 200; i++) {
        float a[PIXELS], b[PIXELS];
        transform(&one, i, 0, a);
        transform(&one, i, 0, b);
        cr_assert_eq(memcmp(a, b, sizeof a), 0, "sample %u changes", i);
        transform(&one, i, 1, b);
        same_epoch += memcmp(a, b, sizeof a) == 0;
        transform(&one, i + 1, 0, b);
        same_index += memcmp(a, b, sizeof a) == 0;
        transform(&two, i, 0, b); /* the same draw twice would never come back from a shift */
        for (int y = -2; y <= 2; y++)
            for (int x = -2; x <= 2; x++)
                twice += is_shifted(a, y, x) && is_shifted(b, 2 * y, 2 * x);
    }
    cr_assert(same_epoch < 30 && same_index < 30, "%d and %d of 200", same_epoch, same_index);
    cr_assert(twice < 60, "%d of 200 second crops repeat the first", twice);
}

/* Goal: normalisation is (value - mean) / std, by channel or with one pair for all, or nothing. */
Test(transforms, normalisation)
{
    const struct sample_place at = place(0, 0);
    for (size_t n = 0; n <= 2; n++) {
        const struct spec_dataset spec = { .n_normalize = n, .mean = { 0.25, 3.0 },
                                           .std = { 0.5, 7.0 } };
        float p[PIXELS], plain[PIXELS];
        picture(p);
        picture(plain);
        transforms_normalize(&spec, &at, p);
        for (int i = 0; i < PIXELS; i++) {
            const bool second = n == 2 && i >= H * W;
            const float want = second ? (plain[i] - 3.0f) / 7.0f : (plain[i] - 0.25f) / 0.5f;
            cr_assert_eq(p[i], n == 0 ? plain[i] : want, "%zu pairs, pixel %d", n, i);
        }
    }
}
