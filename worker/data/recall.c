/* recall: built-in sequences that need a memory (data set delayed-recall). Read on any thread.
 *
 * Eight symbols are channels 0 to 7. The first time-step shows one symbol, a later one in the first
 * half another. Then nothing but weak noise, until in the last step channel 8 or 9 asks for the
 * first or the second symbol. Class: the symbol asked for. A step alone never tells the class, nor
 * does the sum of all steps, which leaves two symbols to choose from: half of the answers at best.
 */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "common/philox.h"

#include <string.h>

#define RECALL_SEED 20260103u
#define SYMBOLS 8
#define CHANNELS (SYMBOLS + 2)
#define NOISE 0.3f

struct recall_dataset {
    struct dataset base;
    struct philox_key key;
};

/* What a sample is made of. */
struct recall {
    uint32_t first, second; /* symbols, never the same */
    uint32_t step;          /* of the second */
    uint32_t cue;           /* 0: the first is asked for */
};

static struct recall draw(const struct recall_dataset *r, enum dataset_part part, size_t i)
{
    const uint32_t sample = (uint32_t)i, split = (uint32_t)part;
    struct recall x = { .first = philox_below(r->key, 0, sample, split, 1, SYMBOLS),
                        .second = philox_below(r->key, 1, sample, split, 1, SYMBOLS - 1),
                        .step = 1 + philox_below(r->key, 2, sample, split, 1,
                                                 (uint32_t)(r->base.t / 2 - 1)),
                        .cue = philox_below(r->key, 3, sample, split, 1, 2) };
    x.second += x.second >= x.first;
    return x;
}

static uint32_t recall_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    const struct recall x = draw((const struct recall_dataset *)d, part, i);
    return x.cue == 0 ? x.first : x.second;
}

static void recall_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    const struct recall_dataset *r = (const struct recall_dataset *)d;
    const struct recall x = draw(r, part, i);
    for (size_t k = 0; k < d->t * CHANNELS; k++) {
        const float noise = philox_uniform(r->key, k, (uint32_t)i, (uint32_t)part, 2);
        out[k] = k % CHANNELS < SYMBOLS ? NOISE * noise : 0.0f;
    }
    out[x.first] = 1.0f;
    out[x.step * CHANNELS + x.second] = 1.0f;
    out[(d->t - 1) * CHANNELS + SYMBOLS + x.cue] = 1.0f;
}

static void recall_close(struct dataset *d) { mem_free(d); }

static const struct dataset_ops recall_ops = { recall_read, recall_label, recall_close, NULL };

int recall_open(struct dataset **out, const struct dataset_request *r, struct err *e)
{
    const struct spec_dataset_info *info = spec_dataset_find("delayed-recall");
    if (r->time_steps < (size_t)info->time_steps_min)
        return err_set(e, ERR_SPEC, "/time_steps: delayed-recall needs at least %lld",
                       (long long)info->time_steps_min);
    struct recall_dataset *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return err_set(e, ERR_NOMEM, "delayed recall");
    d->base = (struct dataset){ .ops = &recall_ops, .kind = SPEC_DATA_SEQUENCES,
                                .t = r->time_steps, .c = CHANNELS, .h = 1, .w = 1,
                                .classes = SYMBOLS,
                                .count = { (size_t)info->train_count, (size_t)info->test_count } };
    d->key = philox_key(RECALL_SEED, PHILOX_GENERATE);
    static const char version[] = "delayed recall 1"; /* raised when a sample changes */
    digest_bytes(version, sizeof version, d->base.digest);
    *out = &d->base;
    return 0;
}
