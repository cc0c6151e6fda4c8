/* split: training, validation and test sets. See batcher.h. */
#include "worker/data/batcher.h"

#include "common/mem.h"

#include <stdlib.h>

/* A sample and the number that decides its side. */
struct ticket {
    uint32_t draw, index;
};

static int by_draw(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static int by_index(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int set_make(struct sample_set *s, const struct dataset *data, enum dataset_part part,
                    size_t capacity, struct err *e)
{
    *s = (struct sample_set){ .data = data, .part = part };
    s->index = mem_calloc(capacity + 1, sizeof s->index[0]);
    return s->index != NULL ? 0 : err_set(e, ERR_NOMEM, "%zu sample indices", capacity);
}

void sample_set_deinit(struct sample_set *s)
{
    mem_free(s->index);
    s->index = NULL;
    s->count = 0;
}

/* The share of every class with the smallest draws goes to validation. */
static void cut(const struct dataset *data, size_t n, double fraction, struct ticket *tickets,
                struct philox_key key, struct sample_set *train, struct sample_set *validation)
{
    for (size_t class = 0; class < data->classes; class ++) {
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            if (data->ops->label(data, DATASET_TRAIN, i) != class) continue;
            tickets[count++] = (struct ticket){ philox_u32(key, 0, (uint32_t)i, 0, 0),
                                                (uint32_t)i };
        }
        qsort(tickets, count, sizeof tickets[0], by_draw);
        const size_t held = (size_t)((double)count * fraction + 0.5);
        for (size_t i = 0; i < count; i++) {
            struct sample_set *to = i < held ? validation : train;
            to->index[to->count++] = tickets[i].index;
        }
    }
    qsort(train->index, train->count, sizeof train->index[0], by_index);
    qsort(validation->index, validation->count, sizeof validation->index[0], by_index);
}

static size_t limited(size_t count, int64_t limit)
{
    return limit > 0 && (size_t)limit < count ? (size_t)limit : count;
}

int sample_sets_make(const struct dataset *data, const struct spec_dataset *spec, uint64_t seed,
                     struct sample_set *train, struct sample_set *validation,
                     struct sample_set *test, struct err *e)
{
    const size_t n = limited(data->count[DATASET_TRAIN], spec->train_limit);
    const size_t n_test = limited(data->count[DATASET_TEST], spec->test_limit);
    *train = *validation = *test = (struct sample_set){ 0 };
    struct ticket *tickets = mem_calloc(n, sizeof tickets[0]);
    int rc = tickets == NULL ? err_set(e, ERR_NOMEM, "%zu samples", n) : 0;
    if (rc == 0) rc = set_make(train, data, DATASET_TRAIN, n, e);
    if (rc == 0) rc = set_make(validation, data, DATASET_TRAIN, n, e);
    if (rc == 0) rc = set_make(test, data, DATASET_TEST, n_test, e);
    if (rc == 0) {
        cut(data, n, spec->validation_fraction, tickets, philox_key(seed, PHILOX_SPLIT), train,
            validation);
        for (size_t i = 0; i < n_test; i++) test->index[test->count++] = (uint32_t)i;
        if (train->count == 0) rc = err_set(e, ERR_DATA, "no training samples are left");
    }
    mem_free(tickets);
    if (rc != 0) {
        sample_set_deinit(train);
        sample_set_deinit(validation);
        sample_set_deinit(test);
    }
    return rc;
}
