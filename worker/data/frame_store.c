/* frame_store: see frame_store.h. */
#include "worker/data/frame_store.h"

#include "common/mem.h"

int frame_store_init(struct frame_store *s, size_t samples, size_t values, struct err *e)
{
    size_t all;
    *s = (struct frame_store){ .samples = samples, .values = values };
    if (!mem_mul(samples, values, &all) || all > FRAME_STORE_BYTES_MAX)
        return err_set(e, ERR_DATA,
                       "%zu samples of %zu values are more than 8 GiB: limit the samples with "
                       "train_limit and test_limit, or take fewer time_steps", samples, values);
    s->narrow = mem_calloc(all, sizeof s->narrow[0]);
    return s->narrow != NULL ? 0 : err_set(e, ERR_NOMEM, "%zu samples of frames", samples);
}

void frame_store_deinit(struct frame_store *s)
{
    mem_free(s->narrow);
    mem_free(s->wide);
    *s = (struct frame_store){ 0 };
}

static int widen(struct frame_store *s, struct err *e)
{
    const size_t n = s->samples * s->values;
    uint16_t *wide = mem_calloc(n, sizeof wide[0]);
    if (wide == NULL) return err_set(e, ERR_NOMEM, "%zu samples of frames", s->samples);
    for (size_t k = 0; k < n; k++) wide[k] = s->narrow[k];
    mem_free(s->narrow);
    s->narrow = NULL;
    s->wide = wide;
    return 0;
}

int frame_store_put(struct frame_store *s, size_t i, const float *values, struct err *e)
{
    const size_t first = i * s->values;
    float most = 0.0f;
    for (size_t k = 0; k < s->values; k++)
        if (values[k] > most) most = values[k];
    if (most > 65535.0f)
        return err_set(e, ERR_DATA, "%.0f events on one pixel of one frame, at most 65535",
                       (double)most);
    if (most > 255.0f && s->narrow != NULL && widen(s, e) != 0) return (int)e->code;
    for (size_t k = 0; k < s->values; k++) {
        if (s->narrow != NULL) s->narrow[first + k] = (uint8_t)values[k];
        else s->wide[first + k] = (uint16_t)values[k];
    }
    return 0;
}

void frame_store_get(const struct frame_store *s, size_t i, float *values)
{
    const size_t first = i * s->values;
    for (size_t k = 0; k < s->values; k++)
        values[k] = s->narrow != NULL ? (float)s->narrow[first + k] : (float)s->wide[first + k];
}

size_t frame_store_bytes(const struct frame_store *s)
{
    return s->samples * s->values * (s->narrow != NULL ? sizeof s->narrow[0] : sizeof s->wide[0]);
}
