/* optimizer_kernel: the update rules over whole blocks of weights (kernels.h): stretches of fixed
 * length are the items of the pool. Every element is updated by itself, so cuts change no bit. */
#include "worker/kernels/kernel_trace.h"
#include "worker/kernels/kernels_table.h"

#define CHUNK_FLOATS ((size_t)16384)

struct update {
    const struct kernels *k;
    const void *args;
    float *p;
    const float *g;
    float *state[3]; /* as long as p, or NULL */
    size_t n;
};

/* Stretch number `item` of an update. */
static struct update stretch(const struct update *u, size_t item)
{
    struct update part = *u;
    const size_t at = item * CHUNK_FLOATS;
    part.p += at;
    part.g += at;
    for (size_t i = 0; i < 3; i++)
        if (part.state[i] != NULL) part.state[i] += at;
    part.n = u->n - at < CHUNK_FLOATS ? u->n - at : CHUNK_FLOATS;
    return part;
}

static void run(const struct kernel_ctx *kc, struct update *u,
                void (*item)(void *ctx, size_t item, size_t thread))
{
    threads_run(kc->threads, (u->n + CHUNK_FLOATS - 1) / CHUNK_FLOATS, item, u);
}

static void sgd_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct update u = stretch(ctx, item);
    u.k->sgd(u.args, u.p, u.g, u.state[0], u.n);
}

void sgd_update(const struct kernel_ctx *kc, const struct sgd_args *a, float *p, const float *g,
                float *m, size_t n)
{
    kernel_note(kc, KERNEL_sgd_update);
    struct update u = { kc->k, a, p, g, { m, NULL, NULL }, n };
    run(kc, &u, sgd_item);
}

static void adam_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct update u = stretch(ctx, item);
    u.k->adam(u.args, u.p, u.g, u.state[0], u.state[1], u.state[2], u.n);
}

void adam_update(const struct kernel_ctx *kc, const struct adam_args *a, float *p, const float *g,
                 float *m, float *v, float *top, size_t n)
{
    kernel_note(kc, KERNEL_adam_update);
    struct update u = { kc->k, a, p, g, { m, v, top }, n };
    run(kc, &u, adam_item);
}

static void rmsprop_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct update u = stretch(ctx, item);
    u.k->rmsprop(u.args, u.p, u.g, u.state[0], u.state[1], u.state[2], u.n);
}

void rmsprop_update(const struct kernel_ctx *kc, const struct rmsprop_args *a, float *p,
                    const float *g, float *v, float *mean, float *m, size_t n)
{
    kernel_note(kc, KERNEL_rmsprop_update);
    struct update u = { kc->k, a, p, g, { v, mean, m }, n };
    run(kc, &u, rmsprop_item);
}

static void average_item(void *ctx, size_t item, size_t thread)
{
    (void)thread;
    const struct update u = stretch(ctx, item);
    const float *share = u.args;
    u.k->average(u.p, u.g, share[0], share[1], u.n);
}

void f32_average(const struct kernel_ctx *kc, float *mean, const float *x, float keep, float fresh,
                 size_t n)
{
    kernel_note(kc, KERNEL_f32_average);
    const float share[2] = { keep, fresh };
    struct update u = { kc->k, share, mean, x, { NULL, NULL, NULL }, n };
    run(kc, &u, average_item);
}
