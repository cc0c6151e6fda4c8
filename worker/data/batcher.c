/* batcher: see batcher.h. An item of the pool is one sample. */
#include "worker/data/batcher.h"

#include "common/mem.h"
#include "worker/data/transforms.h"

#include <string.h>

int batcher_init(struct batcher *b, const struct dataset *data, const struct spec_dataset *spec,
                 size_t time_steps, uint64_t seed, size_t samples_max, struct threads *threads,
                 struct err *e)
{
    *b = (struct batcher){ .spec = spec,
                           .shuffle = philox_key(seed, PHILOX_SHUFFLE),
                           .augment = philox_key(seed, PHILOX_AUGMENT),
                           .encode = philox_key(seed, PHILOX_ENCODER),
                           .threads = threads,
                           .image = data->c * data->h * data->w,
                           .frames = data->t,
                           .threads_count = threads_count(threads) };
    encoder_init(&b->encoder, spec, time_steps);
    b->pixels = mem_calloc((b->frames + 1) * b->image * b->threads_count, sizeof b->pixels[0]);
    b->order = mem_calloc(samples_max + 1, sizeof b->order[0]);
    if (b->pixels != NULL && b->order != NULL) return 0;
    batcher_deinit(b);
    return err_set(e, ERR_NOMEM, "batches of %zu samples", samples_max);
}

void batcher_deinit(struct batcher *b)
{
    mem_free(b->pixels);
    mem_free(b->order);
    *b = (struct batcher){ 0 };
}

void batcher_begin(struct batcher *b, const struct sample_set *set, uint64_t epoch, bool shuffle)
{
    b->order_count = set->count;
    for (size_t i = 0; i < set->count; i++) b->order[i] = (uint32_t)i;
    for (size_t i = set->count; shuffle && i > 1; i--) { /* Fisher and Yates */
        const uint32_t j = philox_below(b->shuffle, i - 1, 0, (uint32_t)epoch, 0, (uint32_t)i);
        const uint32_t keep = b->order[i - 1];
        b->order[i - 1] = b->order[j];
        b->order[j] = keep;
    }
}

struct fill {
    struct batcher *b;
    const struct sample_set *set;
    uint64_t epoch;
    size_t first;
    bool augment;
    const struct tensor_desc *desc;
    void *input;
    uint32_t *labels;
};

static void fill_sample(void *ctx, size_t item, size_t thread)
{
    const struct fill *f = ctx;
    struct batcher *b = f->b;
    const struct dataset *data = f->set->data;
    const uint32_t index = f->set->index[b->order[f->first + item]];
    float *pixels = b->pixels + (b->frames + 1) * b->image * thread;
    float *spare = pixels + b->frames * b->image;
    data->ops->read(data, f->set->part, index, pixels);
    const struct sample_place place = { b->augment, index, (uint32_t)f->epoch, data->c, data->h,
                                        data->w };
    const size_t length =
        data->own_lengths ? data->ops->length(data, f->set->part, index) : b->frames;
    if (b->lengths != NULL) b->lengths[item] = (uint32_t)length;
    for (size_t t = 0; t < length; t++) { /* all frames of a sample move alike */
        float *frame = pixels + t * b->image;
        if (f->augment) transforms_apply(b->spec, &place, frame, spare);
        transforms_normalize(b->spec, &place, frame);
    }
    memset(pixels + length * b->image, 0, (b->frames - length) * b->image * sizeof pixels[0]);
    const struct encode_place where = { b->encode, index, (uint32_t)f->epoch };
    if (b->frames > 1) encode_periodic(pixels, b->frames, f->desc, f->input, item);
    else encode_sample(&b->encoder, &where, pixels, f->desc, f->input, item);
    f->labels[item] = data->ops->label(data, f->set->part, index);
}

void batcher_fill(struct batcher *b, const struct sample_set *set, uint64_t epoch, size_t first,
                  size_t n, bool augment, const struct tensor_desc *desc, void *input,
                  uint32_t *labels)
{
    struct fill f = { b, set, epoch, first, augment, desc, input, labels };
    threads_run(b->threads, n, fill_sample, &f);
}
