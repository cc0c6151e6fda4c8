/* golden_tensors: tensors of a golden case, [T, N, C, H, W], and the engine's. One thread. */
#include "common/mem.h"
#include "worker/train/golden_case.h"

/* Missing axes are 1; [T, N, C, L] is one row of L pixels. */
struct golden_dims golden_dims_of(const struct safetensors_entry *e)
{
    struct golden_dims d = { 1, 1, 1, 1, 1 };
    const size_t *s = e->dims;
    if (e->n_dims >= 1) d.t = s[0];
    if (e->n_dims >= 2) d.n = s[1];
    if (e->n_dims >= 3) d.c = s[2];
    if (e->n_dims == 4) d.w = s[3];
    if (e->n_dims >= 5) {
        d.h = s[3];
        d.w = s[4];
    }
    return d;
}

void golden_put_tensor(const struct tensor_desc *d, void *data, const float *from)
{
    for (size_t t = 0; t < d->t_stored; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t y = 0; y < d->h; y++)
                    for (size_t x = 0; x < d->w; x++) tensor_set(d, data, b, t, c, y, x, *from++);
}

static void take_tensor(const struct tensor_desc *d, const void *data, float *to)
{
    for (size_t t = 0; t < d->t; t++)
        for (size_t b = 0; b < d->b; b++)
            for (size_t c = 0; c < d->c; c++)
                for (size_t y = 0; y < d->h; y++)
                    for (size_t x = 0; x < d->w; x++) *to++ = tensor_get(d, data, b, t, c, y, x);
}

void golden_compare_tensor(struct golden_case *c, const char *role, const struct tensor_desc *d,
                           const void *data)
{
    if (!golden_expects(c, role) || data == NULL) return;
    const size_t n = d->t * d->b * d->c * d->h * d->w;
    float *values = mem_calloc(n, sizeof values[0]);
    if (values == NULL) {
        golden_fail(c, role, "out of memory");
        return;
    }
    take_tensor(d, data, values);
    golden_compare(c, role, values, n);
    mem_free(values);
}

bool golden_only_spikes(const struct safetensors_entry *x)
{
    const float *v = x->data;
    for (size_t i = 0; i < x->elements; i++)
        if (v[i] != 0.0f && v[i] != 1.0f) return false;
    return true;
}
