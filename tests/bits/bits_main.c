/* bits_main: see bits.h. usage: bits; SPIKED_ISA forces an instruction set. Exits 1 when a kernel
 * was not reached: a new one needs a case here. */
#include "common/mem.h"
#include "tests/bits/bits.h"
#include "worker/kernels/kernel_trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAKEN_MAX 64
#define SCRATCH_BYTES ((size_t)16 << 20)

static void *taken[TAKEN_MAX];
static size_t taken_count;

static void die(const char *why)
{
    (void)fprintf(stderr, "bits: %s\n", why);
    exit(75);
}

void *bits_take(size_t bytes)
{
    const size_t all = mem_align(bytes + 256, 64);
    if (taken_count == TAKEN_MAX) die("too many tensors in one case");
    void *p = taken[taken_count++] = aligned_alloc(64, all);
    if (p == NULL) die("out of memory");
    memset(p, 0, all);
    return p;
}

void bits_release(void)
{
    while (taken_count > 0) free(taken[--taken_count]);
}

static float number(size_t i)
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    return (float)(x >> 40) * 0x1p-23f - 1.0f;
}

float *bits_floats(size_t n, size_t seed)
{
    float *p = bits_take(n * sizeof p[0]);
    for (size_t i = 0; i < n; i++) p[i] = number(seed * 104729 + i);
    return p;
}

struct tensor_view bits_tensor(struct tensor_desc d)
{
    return (struct tensor_view){ d, bits_take(tensor_bytes(&d)) };
}

static float element(enum tensor_kind kind, size_t i, float rate)
{
    const float f = number(i), share = f * 0.5f + 0.5f; /* in [0, 1) */
    if (kind == TENSOR_BITS) return share < rate ? 1.0f : 0.0f;
    if (kind == TENSOR_COUNT8) return share < rate ? floorf(share / rate * 4.0f) + 1.0f : 0.0f;
    return f;
}

struct tensor_view bits_filled(struct tensor_desc d, size_t seed, float rate)
{
    struct tensor_view v = bits_tensor(d);
    size_t i = seed * 7919;
    for (size_t b = 0; b < d.b; b++)
        for (size_t t = 0; t < d.t_stored; t++)
            for (size_t c = 0; c < d.c; c++)
                for (size_t y = 0; y < d.h; y++)
                    for (size_t x = 0; x < d.w; x++)
                        tensor_set(&d, v.data, b, t, c, y, x, element(d.kind, i++, rate));
    return v;
}

/* FNV-1a of the bytes. All zeros would be a case that computes nothing. */
void bits_print(const char *name, size_t i, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint64_t hash = 0xCBF29CE484222325u;
    unsigned char any = 0;
    for (size_t k = 0; k < bytes; k++) {
        hash = (hash ^ p[k]) * 0x100000001B3u;
        any |= p[k];
    }
    (void)printf("%s %zu %016llx%s\n", name, i, (unsigned long long)hash, any ? "" : " ZERO");
}

void bits_print_view(const char *name, size_t i, const struct tensor_view *v)
{
    bits_print(name, i, v->data, tensor_bytes(&v->desc));
}

static int unreached(const struct kernel_trace *trace)
{
    int missing = 0;
    for (size_t id = 0; id < KERNEL_ID_COUNT; id++) {
        if (trace->calls[id] > 0) continue;
        (void)fprintf(stderr, "bits: no case reaches %s\n", kernel_name(id));
        missing = 1;
    }
    return missing;
}

int main(void)
{
    struct bits b = { 0 };
    struct kernel_trace trace = { 0 };
    struct err e = { 0 };
    if (kernels_choose(&b.isa, &e) != 0) die(e.text);
    b.kc = (struct kernel_ctx){
        .k = kernels_get(b.isa), .scratch_per_thread = SCRATCH_BYTES, .exact = true, .trace = &trace
    };
    b.kc.scratch = aligned_alloc(64, SCRATCH_BYTES);
    if (b.kc.scratch == NULL || threads_create(&b.kc.threads, 1, &e) != 0) die("no thread");
    bits_of_convolutions(&b);
    bits_of_layers(&b);
    bits_of_floats(&b);
    bits_of_neurons(&b);
    threads_destroy(b.kc.threads);
    free(b.kc.scratch);
    return unreached(&trace);
}
