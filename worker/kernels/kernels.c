/* kernels: choice of the instruction set, and the entry points of element-wise kernels and sums.
 * See kernels.h. */
#include "worker/kernels/kernels_table.h"

#include "worker/kernels/cut.h"
#include "worker/kernels/kernel_trace.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FLOATS ((size_t)16384) /* of an element-wise item */
#define SQUARES_BLOCK ((size_t)4096)
#define SQUARES_LOT (KERNEL_SCRATCH_BYTES / sizeof(double)) /* blocks whose sums scratch holds */

/* ---- instruction sets ------------------------------------------------------------------------ */
static const char *const names[ISA_COUNT] = { "generic", "avx2", "avx512" };
const char *isa_name(enum isa isa) { return names[isa]; }

const struct kernels *kernels_get(enum isa isa)
{
    switch (isa) {
    case ISA_GENERIC: return &kernels_generic;
#if defined(__x86_64__)
    case ISA_AVX2: return &kernels_avx2;
    case ISA_AVX512: return &kernels_avx512;
#endif
    default: return NULL;
    }
}

static bool runs_here(enum isa isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (isa == ISA_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == ISA_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return isa == ISA_GENERIC;
}

int kernels_choose(enum isa *out, struct err *e)
{
    const char *forced = getenv("SPIKED_ISA");
    for (int i = ISA_COUNT - 1; i >= 0; i--) {
        if (forced != NULL && strcmp(forced, names[i]) != 0) continue;
        if (runs_here((enum isa)i)) {
            *out = (enum isa)i;
            return 0;
        }
        if (forced != NULL)
            return err_set(e, ERR_INVALID, "SPIKED_ISA=%s: this CPU does not have it", forced);
    }
    return err_set(e, ERR_INVALID, "SPIKED_ISA=%.40s: must be generic, avx2 or avx512", forced);
}

int kernels_choose_path(const char *name, enum kernel_path *out, struct err *e)
{
    if (name == NULL) name = getenv("SPIKED_PATH");
    if (name == NULL || strcmp(name, "auto") == 0) *out = KERNEL_PATH_AUTO;
    else if (strcmp(name, "dense") == 0) *out = KERNEL_PATH_DENSE;
    else if (strcmp(name, "event") == 0) *out = KERNEL_PATH_EVENT;
    else if (strcmp(name, "winograd") == 0) *out = KERNEL_PATH_WINOGRAD;
    else return err_set(e, ERR_INVALID, "path %.40s: must be auto, event, dense or winograd", name);
    return 0;
}

void kernels_cpu(enum isa isa, char out[KERNELS_CPU_MAX])
{
    (void)snprintf(out, KERNELS_CPU_MAX, "%s", isa_name(isa));
}

/* ---- pieces of a long array ------------------------------------------------------------------ */
struct pieces {
    const struct kernels *k;
    size_t n;
    float *y;
    const float *x;
    float value;
    double *partial;
};

static size_t piece(const struct pieces *p, size_t item, size_t size)
{
    const size_t left = p->n - item * size;
    return left < size ? left : size;
}

static void fill_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pieces *p = ctx;
    float *y = p->y + item * CHUNK_FLOATS;
    const size_t n = piece(p, item, CHUNK_FLOATS);
    for (size_t i = 0; i < n; i++) y[i] = p->value;
}

void f32_fill(const struct kernel_ctx *kc, float *x, size_t n, float value)
{
    kernel_note(kc, KERNEL_f32_fill);
    struct pieces p = { .k = kc->k, .n = n, .y = x, .value = value };
    threads_run(kc->threads, ceil_div(n, CHUNK_FLOATS), fill_item, &p);
}

static void add_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pieces *p = ctx;
    const size_t at = item * CHUNK_FLOATS;
    p->k->accumulate(p->y + at, p->x + at, 1.0f, piece(p, item, CHUNK_FLOATS));
}

void f32_add(const struct kernel_ctx *kc, float *y, const float *x, size_t n)
{
    kernel_note(kc, KERNEL_f32_add);
    struct pieces p = { .k = kc->k, .n = n, .y = y, .x = x };
    threads_run(kc->threads, ceil_div(n, CHUNK_FLOATS), add_item, &p);
}

static void squares_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct pieces *p = ctx;
    bool finite;
    p->partial[item] = p->k->sum_squares(p->x + item * SQUARES_BLOCK,
                                         piece(p, item, SQUARES_BLOCK), &finite);
}

bool f32_sum_squares(const struct kernel_ctx *kc, const float *x, size_t n, double *sum)
{
    kernel_note(kc, KERNEL_f32_sum_squares);
    double total = 0.0;
    for (size_t at = 0; at < n; at += SQUARES_LOT * SQUARES_BLOCK) {
        struct pieces p = { .k = kc->k, .n = n - at, .x = x + at,
                            .partial = (double *)(void *)kc->scratch };
        const size_t left = ceil_div(p.n, SQUARES_BLOCK);
        const size_t blocks = left < SQUARES_LOT ? left : SQUARES_LOT;
        threads_run(kc->threads, blocks, squares_item, &p);
        for (size_t i = 0; i < blocks; i++) total += p.partial[i];
    }
    *sum = total;
    return __builtin_isfinite(total);
}

/* ---- single values --------------------------------------------------------------------------- */
float kernels_sigmoid(enum isa isa, float x)
{
    float v[16] = { x };
    kernels_get(isa)->sigmoid(v, v, 16);
    return v[0];
}

float kernels_log(enum isa isa, float x)
{
    float v[16];
    for (size_t i = 0; i < 16; i++) v[i] = x;
    kernels_get(isa)->logarithm(v, v, 16);
    return v[0];
}

/* ---- any kind to floats ---------------------------------------------------------------------- */
struct expansion {
    const struct kernels *k;
    struct tensor_view x, y;
};

static void expand_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct expansion *j = ctx;
    const struct tensor_desc *d = &j->y.desc;
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t y = 0; y < d->h; y++)
            for (size_t x = 0; x < d->w; x++)
                for (size_t block = 0; block < (d->c + 15) / 16; block++)
                    kernels_load16(j->k, &j->x, b, t, y, x, block, j->x.desc.scale,
                                   (float *)j->y.data + tensor_at(d, b, t, y, x, block));
}

void tensor_expand(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                   const struct tensor_desc *yd, float *y)
{
    kernel_note_form(kc, KERNEL_tensor_expand_floats, xd);
    struct expansion j = { kc->k, { tensor_image(xd), (void *)(uintptr_t)x },
                           { tensor_image(yd), y } };
    threads_run(kc->threads, xd->b, expand_item, &j);
}

/* ---- sums of gradients at forks -------------------------------------------------------------- */
struct addition {
    const struct kernels *k;
    size_t floats; /* of a sample, gaps included: nobody reads them */
    const struct tensor_view *y, *x;
};

static void addition_item(void *ctx, size_t b, size_t thread)
{
    (void)thread;
    const struct addition *j = ctx;
    j->k->accumulate((float *)j->y->data + b * j->y->desc.sample,
                     (const float *)j->x->data + b * j->x->desc.sample, 1.0f, j->floats);
}

void tensor_add(const struct kernel_ctx *kc, const struct tensor_view *y,
                const struct tensor_view *x)
{
    kernel_note(kc, KERNEL_tensor_add);
    assert(y->desc.time == x->desc.time && y->desc.t_stored == x->desc.t_stored);
    struct addition j = { kc->k, y->desc.t_stored * y->desc.time, y, x };
    threads_run(kc->threads, y->desc.b, addition_item, &j);
}

/* ---- bias ------------------------------------------------------------------------------------ */
struct bias {
    const struct kernels *k;
    const struct tensor_desc *d;
    const float *dy;
    struct span b;
    float *db;
};

static void bias_item(void *ctx, size_t block, size_t thread)
{
    (void)thread;
    const struct bias *j = ctx;
    const struct tensor_desc *d = j->d;
    double total[16] = { 0 };
    for (size_t b = j->b.begin; b < j->b.end; b++) {
        double sample[16] = { 0 };
        for (size_t t = 0; t < d->t_stored; t++)
            for (size_t y = 0; y < d->h; y++)
                for (size_t x = 0; x < d->w; x++)
                    j->k->sum_only(j->dy + tensor_at(d, b, t, y, x, block), sample, 16);
        for (size_t i = 0; i < 16; i++) total[i] += sample[i];
    }
    for (size_t i = 0; i < 16 && block * 16 + i < d->c; i++)
        j->db[block * 16 + i] = (float)total[i];
}

void bias_backward(const struct kernel_ctx *kc, const struct tensor_desc *dyd, const float *dy,
                   struct span b, float *db)
{
    kernel_note(kc, KERNEL_bias_backward);
    struct bias j = { kc->k, dyd, dy, b, db };
    threads_run(kc->threads, (dyd->c + 15) / 16, bias_item, &j);
}
