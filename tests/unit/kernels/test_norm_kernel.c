/* Batch-norm statistics and the long sums: against definitions in double, equal bits everywhere. */
#include "tests/unit/kernels/kernel_fixture.h"

#include <sys/mman.h>

/* Goal: mean and variance agree with the definition to 1e-12 and have equal bits in every context.
 */
Test(norm_kernel, statistics, .timeout = 60)
{
    struct tensor_view x = view_filled(tensor_make(TENSOR_F32, 8, 3, 37, 5, 6), 9, 0);
    const size_t c = x.desc.c_stored;
    double mean[64], var[64], want_mean[64], want_var[64], first[2][64] = { { 0 } };
    double *partial = take(8 * 2 * c, sizeof(double));
    bool has_first = false;
    reference_bn_statistics(&x.desc, x.data, want_mean, want_var);
    EACH_CONTEXT(kc, true)
    {
        bn_partial_sums(&kc, &x.desc, x.data, partial);
        bn_finish(&x.desc, partial, 4, 8 * 3 * 5 * 6, mean, var);
        for (size_t i = 0; i < 37; i++) {
            cr_assert(fabs(mean[i] - want_mean[i]) < 1e-12 && fabs(var[i] - want_var[i]) < 1e-12,
                      "%zu", i);
            cr_assert(!has_first || (mean[i] == first[0][i] && var[i] == first[1][i]),
                      "channel %zu, %s", i, isa_name((enum isa)isa_kc));
            first[0][i] = mean[i];
            first[1][i] = var[i];
        }
        has_first = true;
    }
    free(partial);
    free(x.data);
}

/* Goal: the number of shards changes the tree, and so at most the last bits, never the value. */
Test(norm_kernel, shards_agree, .timeout = 60)
{
    struct tensor_view x = view_filled(tensor_make(TENSOR_F32, 8, 2, 16, 4, 4), 10, 0);
    double *partial = take(8 * 2 * 16, sizeof(double)), one[2][16], many[2][16];
    struct kernel_ctx kc = context_make(ISA_GENERIC, 2, true);
    bn_partial_sums(&kc, &x.desc, x.data, partial);
    bn_finish(&x.desc, partial, 1, 8 * 2 * 4 * 4, one[0], one[1]);
    for (size_t shards = 2; shards <= 8; shards *= 2) {
        bn_finish(&x.desc, partial, shards, 8 * 2 * 4 * 4, many[0], many[1]);
        for (int i = 0; i < 16; i++)
            cr_assert(fabs(one[0][i] - many[0][i]) < 1e-13 && fabs(one[1][i] - many[1][i]) < 1e-13);
    }
    context_drop(&kc);
    free(partial);
    free(x.data);
}

/* Goal: the sum of squares sees every element, and says when one is not finite. */
Test(norm_kernel, sum_of_squares, .timeout = 60)
{
    const size_t n = 3 * 4096 + 160;
    float *x = numbers(n, 12);
    double want = 0, first = -1, got;
    for (size_t i = 0; i < n; i++) want += (double)x[i] * (double)x[i];
    EACH_CONTEXT(kc, true)
    {
        cr_assert(f32_sum_squares(&kc, x, n, &got) && fabs(got - want) < 1e-9 * want);
        cr_assert(first < 0 || got == first, "%s, %zu threads", isa_name((enum isa)isa_kc),
                  threads_kc);
        first = got;
        const size_t places[] = { 0, 4095, 4096, n - 1 };
        for (int i = 0; i < 4; i++) {
            const float kept = x[places[i]];
            x[places[i]] = i % 2 ? NAN : INFINITY;
            cr_assert(!f32_sum_squares(&kc, x, n, &got), "element %zu", places[i]);
            x[places[i]] = kept;
        }
    }
    free(x);
}

/* Goal: more blocks than the scratch holds are one chain all the same: after a first block of 2^54
 * single ones vanish, which they would not if they were added up apart. Untouched pages are one
 * page of zeros to the system, so a gibibyte costs next to nothing. */
Test(norm_kernel, sum_of_squares_beyond_the_scratch, .timeout = 60)
{
    const size_t lot = KERNEL_SCRATCH_BYTES / sizeof(double) * 4096, n = lot + 3 * 4096 + 16;
    float *x = mmap(NULL, n * sizeof x[0], PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert(x != MAP_FAILED);
    x[0] = 0x1p27f;
    x[lot - 1] = x[lot] = x[lot + 4096] = x[lot + 2 * 4096] = x[n - 1] = 1.0f;
    struct kernel_ctx kc = context_make(ISA_GENERIC, 2, true);
    double sum;
    cr_assert(f32_sum_squares(&kc, x, n, &sum));
    cr_assert_eq(sum, 0x1p54);
    x[0] = 0.0f;
    cr_assert(f32_sum_squares(&kc, x, n, &sum) && sum == 5.0, "%g", sum);
    x[lot + 5] = NAN;
    cr_assert(!f32_sum_squares(&kc, x, n, &sum));
    context_drop(&kc);
    munmap(x, n * sizeof x[0]);
}

/* Two passes each way over a tensor of 37 channels, with the gradients as given. */
struct norm_world {
    struct tensor_view x, y, dy, dx;
    float *k[3];
};

static struct norm_world norm_world_make(bool blocked)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, 4, 3, 37, 5, 6);
    const struct tensor_desc gd = tensor_gradient(&d, blocked);
    struct norm_world w = { .x = view_filled(d, 21, 0), .y = view_make(d) };
    w.dy = view_filled(tensor_gradient(&d, false), 22, 0);
    w.dx = view_make(gd);
    for (size_t i = 0; i < 3; i++) w.k[i] = numbers(64, 30 + i);
    return w;
}

static void norm_world_drop(struct norm_world *w)
{
    void *all[] = { w->x.data, w->y.data, w->dy.data, w->dx.data, w->k[0], w->k[1], w->k[2] };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* Sample, step, channel, row and column of the i-th element. */
#define NORM_PLACE(i) (i) / 3330, (i) / 1110 % 3, (i) / 30 % 37, (i) % 30 / 6, (i) % 6
#define NORM_ELEMENTS ((size_t)4 * 3330)

/* Goal: y = fma(x, a, sh) and dx = fma(k0, dy, fma(k2, x, k1)), to the bit, also into a blocked
 * gradient. */
Test(norm_kernel, apply_and_backward_data, .timeout = 60)
{
    for (int blocked = 0; blocked < 2; blocked++) {
        struct norm_world w = norm_world_make(blocked);
        EACH_CONTEXT(kc, true)
        {
            memset(w.y.data, 0xff, tensor_bytes(&w.y.desc));
            memset(w.dx.data, 0xff, tensor_bytes(&w.dx.desc));
            bn_apply(&kc, &w.x.desc, w.x.data, w.k[0], w.k[1], &w.y.desc, w.y.data);
            bn_backward_data(&kc, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, w.k[0], w.k[1],
                             w.k[2], &w.dx.desc, w.dx.data);
            for (size_t i = 0; i < NORM_ELEMENTS; i++) {
                const size_t c = i / 30 % 37;
                const float x = tensor_get(&w.x.desc, w.x.data, NORM_PLACE(i));
                const float dy = tensor_get(&w.dy.desc, w.dy.data, NORM_PLACE(i));
                cr_assert_eq(tensor_get(&w.y.desc, w.y.data, NORM_PLACE(i)),
                             fmaf(x, w.k[0][c], w.k[1][c]), "y %zu, %s", i,
                             isa_name((enum isa)isa_kc));
                cr_assert_eq(tensor_get(&w.dx.desc, w.dx.data, NORM_PLACE(i)),
                             fmaf(w.k[0][c], dy, fmaf(w.k[2][c], x, w.k[1][c])), "dx %zu, %s", i,
                             isa_name((enum isa)isa_kc));
            }
        }
        norm_world_drop(&w);
    }
}

/* A row of 19 pixels is two strips of 8 and one of 3. */
enum { STRIPS = 3, SUMS_W = 19, SUMS_ELEMENTS = 4 * 3 * 37 * 5 * SUMS_W };
#define SUMS_PLACE(i)                                                                          \
    (i) / (555 * SUMS_W), (i) / (185 * SUMS_W) % 3, (i) / (5 * SUMS_W) % 37, (i) / SUMS_W % 5, \
        (i) % SUMS_W

struct sums_world {
    struct tensor_view x, dy;
    float *mean, *inv_std;
    double *partial;
    size_t bytes; /* of partial */
};

static struct sums_world sums_world_make(void)
{
    const struct tensor_desc d = tensor_make(TENSOR_F32, 4, 3, 37, 5, SUMS_W);
    struct sums_world w = { .x = view_filled(d, 23, 0),
                            .mean = numbers(64, 33),
                            .inv_std = numbers(64, 34) };
    w.dy = view_filled(tensor_gradient(&d, false), 24, 0);
    w.bytes = 4 * bn_strips(&d) * 2 * d.c_stored * sizeof(double);
    w.partial = take(w.bytes, 1);
    return w;
}

static void sums_world_drop(struct sums_world *w)
{
    void *all[] = { w->x.data, w->dy.data, w->mean, w->inv_std, w->partial };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* Goal: the sums of the backward pass are those of the definition, strip by strip of each sample,
 * with equal bits in every context. */
Test(norm_kernel, backward_sums, .timeout = 60)
{
    struct sums_world w = sums_world_make();
    const size_t c_stored = w.x.desc.c_stored;
    static double want[4][STRIPS][2][37];
    double *first = NULL;
    cr_assert_eq(bn_strips(&w.x.desc), STRIPS);
    for (size_t i = 0; i < SUMS_ELEMENTS; i++) {
        const size_t b = i / (555 * SUMS_W), c = i / (5 * SUMS_W) % 37, strip = i % SUMS_W / 8;
        const double x = (double)tensor_get(&w.x.desc, w.x.data, SUMS_PLACE(i));
        const double dy = (double)tensor_get(&w.dy.desc, w.dy.data, SUMS_PLACE(i));
        want[b][strip][0][c] += dy;
        want[b][strip][1][c] += dy * (x - (double)w.mean[c]) * (double)w.inv_std[c];
    }
    EACH_CONTEXT(kc, true)
    {
        memset(w.partial, 0xff, w.bytes);
        bn_backward_sums(&kc, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, w.mean, w.inv_std,
                         w.partial);
        for (size_t i = 0; i < (size_t)4 * STRIPS * 2 * 37; i++) {
            const size_t at = i / 37, c = i % 37;
            const double got = w.partial[at * c_stored + c];
            const double wanted = want[at / 2 / STRIPS][at / 2 % STRIPS][at % 2][c];
            cr_assert(fabs(got - wanted) < 1e-12, "sum %zu, channel %zu: %g, %g", at, c, got,
                      wanted);
        }
        if (first == NULL) {
            first = take(w.bytes, 1);
            memcpy(first, w.partial, w.bytes);
        }
        cr_assert_eq(memcmp(first, w.partial, w.bytes), 0, "%s, %zu threads",
                     isa_name((enum isa)isa_kc), threads_kc);
    }
    free(first);
    sums_world_drop(&w);
}

/* Goal: tiles of any number of rows and of whole strips leave the bits of the whole at once. */
Test(norm_kernel, backward_sums_of_tiles, .timeout = 60)
{
    struct sums_world w = sums_world_make();
    double *whole = take(w.bytes, 1);
    struct kernel_ctx kc = context_make(ISA_GENERIC, 1, true);
    bn_backward_sums(&kc, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, w.mean, w.inv_std, whole);
    for (size_t rows = 1; rows <= 5; rows++)
        for (size_t columns = 8; columns <= 24; columns += 8) {
            memset(w.partial, 0xff, w.bytes);
            for (size_t i = 0; i < 4 * ((5 + rows - 1) / rows) * STRIPS; i++) {
                const size_t y = i / STRIPS % ((5 + rows - 1) / rows) * rows;
                const size_t x = i % STRIPS * columns;
                if (x >= SUMS_W) continue;
                const struct image_tile at = {
                    .b = i / STRIPS / ((5 + rows - 1) / rows),
                    .t = { 0, 3 },
                    .rows = { y, y + rows < 5 ? y + rows : 5 },
                    .columns = { x, x + columns < SUMS_W ? x + columns : SUMS_W },
                };
                bn_backward_sums_tile(&kc, &w.x.desc, w.x.data, &w.dy.desc, w.dy.data, w.mean,
                                      w.inv_std, &at, w.partial);
            }
            cr_assert_eq(memcmp(whole, w.partial, w.bytes), 0, "%zu x %zu", rows, columns);
        }
    context_drop(&kc);
    free(whole);
    sums_world_drop(&w);
}
