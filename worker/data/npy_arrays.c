/* npy_arrays: a user's data as four NumPy arrays: train-x.npy, train-y.npy, test-x.npy, test-y.npy,
 * gz or not; two more for sequences that end early: train-lengths.npy, test-lengths.npy. Opened on
 * the main thread, read on any.
 *
 * x: [N][H][W] or [N][C][H][W], images: bytes are pixels over 255, floats are taken as they are.
 *    [N][C], features. [N][T][C][H][W], samples with a time of their own, taken as they are; T must
 *    be the spec's time_steps.
 * y: [N], classes from 0 on.
 * lengths: [N], time-steps of each sample, 1 to T. */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "worker/data/file_walk.h"
#include "worker/data/npy_file.h"

#include <math.h>
#include <string.h>

#define CLASSES_MAX 65536
#define DIMS_X_MAX 5

enum column { COLUMN_X, COLUMN_Y, COLUMN_LENGTH, COLUMNS };
struct npy_dataset {
    struct dataset base;
    struct file_bytes bytes[DATASET_PARTS][COLUMNS];
    struct npy_array arrays[DATASET_PARTS][COLUMNS];
    float scale;
    uint32_t *lengths[DATASET_PARTS]; /* NULL: all samples have t time-steps */
};

static const char *const names[DATASET_PARTS][COLUMNS] = {
    { "train-x.npy", "train-y.npy", "train-lengths.npy" },
    { "test-x.npy", "test-y.npy", "test-lengths.npy" },
};

/* ---- reading --------------------------------------------------------------------------------- */
static int take_array(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e)
{
    struct npy_dataset *d = ctx;
    for (int part = 0; part < DATASET_PARTS; part++)
        for (int k = 0; k < COLUMNS; k++) {
            const size_t n = strlen(names[part][k]);
            if (strncmp(path, names[part][k], n) != 0 ||
                (path[n] != '\0' && strcmp(path + n, ".gz") != 0))
                continue;
            struct file_bytes *b = &d->bytes[part][k];
            if (b->at != NULL) return err_set(e, ERR_DATA, "%s: is there twice", names[part][k]);
            int rc = file_walk_read(entry, b, e);
            if (rc == 0) rc = npy_parse(b->at, b->count, &d->arrays[part][k], e);
            if (rc != 0) return err_wrap(e, "%.60s", path);
            d->base.bytes += b->count;
        }
    return 0;
}

static bool has_lengths(const struct npy_dataset *d)
{
    return d->arrays[DATASET_TRAIN][COLUMN_LENGTH].values != NULL ||
           d->arrays[DATASET_TEST][COLUMN_LENGTH].values != NULL;
}

static int columns_of(const struct npy_dataset *d) { return has_lengths(d) ? COLUMNS : 2; }

static int check_present(const struct npy_dataset *d, struct err *e)
{
    for (int part = 0; part < DATASET_PARTS; part++)
        for (int k = 0; k < columns_of(d); k++)
            if (d->arrays[part][k].values == NULL)
                return err_set(e, ERR_DATA, "there is no %s", names[part][k]);
    return 0;
}

/* The shape of a sample from x; letters as in the head of this file. */
static int settle_shape(struct npy_dataset *d, size_t time_steps, struct err *e)
{
    const struct npy_array *x = &d->arrays[DATASET_TRAIN][COLUMN_X];
    const struct npy_array *t = &d->arrays[DATASET_TEST][COLUMN_X];
    const size_t *n = x->dims;
    struct dataset *b = &d->base;
    if (x->n_dims < 2 || x->n_dims > DIMS_X_MAX)
        return err_set(e, ERR_DATA, "%s: has %zu dimensions, 2 to 5 are known", names[0][0],
                       x->n_dims);
    if (t->n_dims != x->n_dims || t->type != x->type ||
        memcmp(t->dims + 1, n + 1, (x->n_dims - 1) * sizeof n[0]) != 0)
        return err_set(e, ERR_DATA, "%s: has another type or shape than %s", names[1][0],
                       names[0][0]);
    b->kind = x->n_dims == 5 ? SPEC_DATA_SEQUENCES : SPEC_DATA_IMAGES;
    b->t = x->n_dims == 5 ? n[1] : 1;
    b->c = x->n_dims == 3 ? 1 : n[x->n_dims == 5 ? 2 : 1];
    b->h = x->n_dims == 2 ? 1 : n[x->n_dims - 2];
    b->w = x->n_dims == 2 ? 1 : n[x->n_dims - 1];
    d->scale = x->type == NPY_U8 && x->n_dims < 5 ? 255.0f : 1.0f;
    if (x->n_dims == 5 && b->t != time_steps)
        return err_set(e, ERR_SPEC, "/time_steps: %zu, but %s has %zu", time_steps, names[0][0],
                       b->t);
    for (int part = 0; part < DATASET_PARTS; part++) {
        const struct npy_array *y = &d->arrays[part][COLUMN_Y];
        b->count[part] = d->arrays[part][COLUMN_X].dims[0];
        if (y->n_dims != 1 || y->dims[0] != b->count[part])
            return err_set(e, ERR_DATA, "%s: is not one class for each of %zu samples",
                           names[part][COLUMN_Y], b->count[part]);
        if (d->arrays[part][COLUMN_X].count == 0)
            return err_set(e, ERR_DATA, "%s: is empty", names[part][COLUMN_X]);
    }
    return 0;
}

/* Classes are whole numbers, test classes such that training has; values are finite. */
static int check_values(struct npy_dataset *d, struct err *e)
{
    for (int part = 0; part < DATASET_PARTS; part++) {
        const struct npy_array *x = &d->arrays[part][COLUMN_X], *y = &d->arrays[part][COLUMN_Y];
        const double most = part == DATASET_TRAIN ? CLASSES_MAX : (double)d->base.classes;
        for (size_t i = 0; i < y->count; i++) {
            const double class = npy_value(y, i);
            if (!(class >= 0 && class < most && class == floor(class)))
                return err_set(e, ERR_DATA, "%s: class %g of sample %zu is none of 0 to %g",
                               names[part][COLUMN_Y], class, i, most - 1);
            if (class >= (double)d->base.classes) d->base.classes = (size_t)class + 1;
        }
        for (size_t i = 0; x->type != NPY_U8 && i < x->count; i++)
            if (!isfinite((float)npy_value(x, i)))
                return err_set(e, ERR_DATA, "%s: value %zu of sample %zu is not finite",
                               names[part][COLUMN_X], i % (x->count / x->dims[0]),
                               i / (x->count / x->dims[0]));
    }
    return 0;
}

static int take_lengths(struct npy_dataset *d, int part, struct err *e)
{
    const struct npy_array *from = &d->arrays[part][COLUMN_LENGTH];
    const char *name = names[part][COLUMN_LENGTH];
    if (d->base.kind != SPEC_DATA_SEQUENCES)
        return err_set(e, ERR_DATA, "%s: samples of %s have no time of their own", name,
                       names[part][COLUMN_X]);
    if (from->n_dims != 1 || from->count != d->base.count[part])
        return err_set(e, ERR_DATA, "%s: is not one length for each of %zu samples", name,
                       d->base.count[part]);
    uint32_t *lengths = mem_calloc(from->count, sizeof lengths[0]);
    if (lengths == NULL) return err_set(e, ERR_NOMEM, "lengths");
    d->lengths[part] = lengths;
    d->base.own_lengths = true;
    d->base.bytes += from->count * sizeof lengths[0];
    for (size_t i = 0; i < from->count; i++) {
        const double length = npy_value(from, i);
        if (!(length >= 1 && length <= (double)d->base.t && length == floor(length)))
            return err_set(e, ERR_DATA, "%s: length %g of sample %zu is none of 1 to %zu", name,
                           length, i, d->base.t);
        lengths[i] = (uint32_t)length;
    }
    return 0;
}

/* ---- the data set ---------------------------------------------------------------------------- */
static void npy_read(const struct dataset *base, enum dataset_part part, size_t i, float *out)
{
    const struct npy_dataset *d = (const struct npy_dataset *)base;
    const size_t n = base->t * base->c * base->h * base->w;
    for (size_t k = 0; k < n; k++)
        out[k] = (float)npy_value(&d->arrays[part][COLUMN_X], i * n + k) / d->scale;
}

static uint32_t npy_label(const struct dataset *base, enum dataset_part part, size_t i)
{
    return (uint32_t)npy_value(&((const struct npy_dataset *)base)->arrays[part][COLUMN_Y], i);
}

static uint32_t npy_length(const struct dataset *base, enum dataset_part part, size_t i)
{
    return ((const struct npy_dataset *)base)->lengths[part][i];
}

static void npy_close(struct dataset *base)
{
    struct npy_dataset *d = (struct npy_dataset *)base;
    for (int part = 0; part < DATASET_PARTS; part++) {
        for (int k = 0; k < COLUMNS; k++) file_bytes_deinit(&d->bytes[part][k]);
        mem_free(d->lengths[part]);
    }
    mem_free(d);
}

static const struct dataset_ops npy_ops = { npy_read, npy_label, npy_close, npy_length };

int npy_dataset_open(struct dataset **out, const char *folder, size_t time_steps, struct err *e)
{
    uint8_t all[DATASET_PARTS * COLUMNS][DIGEST_BYTES];
    size_t digests = 0;
    struct npy_dataset *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return err_set(e, ERR_NOMEM, "dataset");
    d->base.ops = &npy_ops;
    int rc = file_walk(folder, take_array, d, e);
    if (rc == 0) rc = check_present(d, e);
    if (rc == 0) rc = settle_shape(d, time_steps, e);
    if (rc == 0) rc = check_values(d, e);
    for (int part = 0; rc == 0 && has_lengths(d) && part < DATASET_PARTS; part++)
        rc = take_lengths(d, part, e);
    if (rc != 0) {
        if (rc != ERR_SPEC) (void)err_wrap(e, "%.100s", folder);
        npy_close(&d->base);
        return rc;
    }
    for (int part = 0; part < DATASET_PARTS; part++)
        for (int k = 0; k < columns_of(d); k++)
            digest_bytes(d->bytes[part][k].at, d->bytes[part][k].count, all[digests++]);
    digest_bytes(all, digests * sizeof all[0], d->base.digest);
    *out = &d->base;
    return 0;
}
