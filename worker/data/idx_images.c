/* idx_images: MNIST-style datasets: four IDX files (plain or .gz), images as unsigned bytes of
 * [N][H][W] or [N][C][H][W], labels as bytes. Opened on the main thread, read on any.
 *
 * IDX: two zero bytes, type (0x08 = unsigned byte), number of dimensions, then 32-bit big-endian
 * sizes, then the values, row-major. */
#include "worker/data/dataset.h"

#include "common/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define IDX_UBYTE 0x08
#define IDX_DIMS_MAX 4
#define IDX_VALUES_MAX ((size_t)8 << 30)

struct idx_file {
    unsigned char *values;
    size_t dims[IDX_DIMS_MAX], n_dims, count; /* count: product of dims */
};
struct idx_dataset {
    struct dataset base;
    struct idx_file images[DATASET_PARTS], labels[DATASET_PARTS];
};

static const char *const image_names[] = { "train-images-idx3-ubyte", "t10k-images-idx3-ubyte" };
static const char *const label_names[] = { "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte" };

/* Path of the file or of its .gz. */
static int find_file(const char *folder, const char *name, char path[PATH_MAX], struct err *e)
{
    static const char *const endings[] = { "", ".gz" };
    for (int i = 0; i < 2; i++) {
        int n = snprintf(path, PATH_MAX, "%s/%s%s", folder, name, endings[i]);
        if (n < PATH_MAX && access(path, R_OK) == 0) return 0;
    }
    return err_set(e, ERR_DATA, "%.150s: neither %s nor %s.gz can be read", folder, name, name);
}

/* Exactly n bytes from offset *at on. */
static int read_exactly(gzFile f, const char *path, void *out, size_t n, size_t *at, struct err *e)
{
    unsigned char *to = out;
    while (n > 0) {
        const unsigned part = n > (1u << 30) ? 1u << 30 : (unsigned)n;
        const int got = gzread(f, to, part);
        if (got <= 0) {
            int code = 0;
            const char *why = gzerror(f, &code);
            if (code != 0 && code != Z_BUF_ERROR)
                return err_set(e, ERR_DATA, "%.150s: corrupt at byte %zu: %s", path, *at, why);
            return err_set(e, ERR_DATA, "%.150s: ends at byte %zu, %zu more were expected", path,
                           *at, n);
        }
        to += got;
        n -= (size_t)got;
        *at += (size_t)got;
    }
    return 0;
}

static int read_header(gzFile f, const char *path, struct idx_file *out, size_t *at, struct err *e)
{
    unsigned char magic[4], size[4];
    if (read_exactly(f, path, magic, 4, at, e) != 0) return (int)e->code;
    if (magic[0] != 0 || magic[1] != 0 || magic[2] != IDX_UBYTE)
        return err_set(e, ERR_DATA,
                       "%.150s: byte 0 begins with %02x%02x%02x, not 000008 (unsigned bytes)", path,
                       magic[0], magic[1], magic[2]);
    if (magic[3] == 0 || magic[3] > IDX_DIMS_MAX)
        return err_set(e, ERR_DATA, "%.150s: byte 3 says %d dimensions, 1 to 4 are known", path,
                       magic[3]);
    out->n_dims = magic[3];
    out->count = 1;
    for (size_t i = 0; i < out->n_dims; i++) {
        const size_t offset = *at;
        if (read_exactly(f, path, size, 4, at, e) != 0) return (int)e->code;
        out->dims[i] = (size_t)size[0] << 24 | (size_t)size[1] << 16 | (size_t)size[2] << 8 |
                       size[3];
        if (out->dims[i] == 0 || !mem_mul(out->count, out->dims[i], &out->count) ||
            out->count > IDX_VALUES_MAX)
            return err_set(e, ERR_DATA, "%.150s: byte %zu: dimension %zu is impossible", path,
                           offset, out->dims[i]);
    }
    return 0;
}

static int read_values(gzFile f, const char *path, struct idx_file *out, size_t *at, struct err *e)
{
    out->values = mem_alloc(out->count);
    if (out->values == NULL) return err_set(e, ERR_NOMEM, "%.150s: %zu values", path, out->count);
    if (read_exactly(f, path, out->values, out->count, at, e) != 0) return (int)e->code;
    unsigned char extra;
    const int more = gzread(f, &extra, 1);
    if (more < 0) return err_set(e, ERR_DATA, "%.150s: corrupt after byte %zu", path, *at);
    if (more > 0) return err_set(e, ERR_DATA, "%.150s: has data after byte %zu", path, *at);
    return 0;
}

static int idx_load(const char *folder, const char *name, size_t n_dims_min, struct idx_file *out,
                    struct err *e)
{
    char path[PATH_MAX];
    if (find_file(folder, name, path, e) != 0) return (int)e->code;
    gzFile f = gzopen(path, "rb");
    if (f == NULL) return err_set(e, ERR_DATA, "%.150s: cannot be opened", path);
    (void)gzbuffer(f, 1 << 17);
    size_t at = 0;
    int rc = read_header(f, path, out, &at, e);
    if (rc == 0 && out->n_dims < n_dims_min)
        rc = err_set(e, ERR_DATA, "%.150s: byte 3: %zu dimensions, at least %zu are needed", path,
                     out->n_dims, n_dims_min);
    if (rc == 0) rc = read_values(f, path, out, &at, e);
    const int closed = gzclose(f);
    if (rc == 0 && closed != Z_OK) rc = err_set(e, ERR_DATA, "%.150s: checksum is wrong", path);
    return rc;
}

static void idx_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    const struct idx_dataset *s = (const struct idx_dataset *)d;
    const size_t n = d->c * d->h * d->w;
    const unsigned char *from = s->images[part].values + i * n;
    for (size_t j = 0; j < n; j++) out[j] = (float)from[j] / 255.0f;
}

static uint32_t idx_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    return ((const struct idx_dataset *)d)->labels[part].values[i];
}

static void idx_close(struct dataset *d)
{
    struct idx_dataset *s = (struct idx_dataset *)d;
    for (int p = 0; p < DATASET_PARTS; p++) {
        mem_free(s->images[p].values);
        mem_free(s->labels[p].values);
    }
    mem_free(s);
}

static const struct dataset_ops idx_ops = { idx_read, idx_label, idx_close, NULL };

static int take_shape(struct idx_dataset *s, const char *folder, struct err *e)
{
    const struct idx_file *a = &s->images[DATASET_TRAIN], *b = &s->images[DATASET_TEST];
    if (a->n_dims != b->n_dims ||
        memcmp(a->dims + 1, b->dims + 1, (a->n_dims - 1) * sizeof a->dims[0]) != 0)
        return err_set(e, ERR_DATA, "%.120s: %s: byte %d: not the shape of the training images",
                       folder, image_names[DATASET_TEST], a->n_dims != b->n_dims ? 3 : 8);
    s->base.t = 1;
    s->base.c = a->n_dims == 4 ? a->dims[1] : 1;
    s->base.h = a->dims[a->n_dims - 2];
    s->base.w = a->dims[a->n_dims - 1];
    for (int p = 0; p < DATASET_PARTS; p++) {
        s->base.count[p] = s->images[p].dims[0];
        s->base.bytes += s->images[p].count + s->labels[p].count;
        if (s->labels[p].count != s->base.count[p])
            return err_set(e, ERR_DATA, "%.120s: %s: byte 4: %zu labels for %zu images", folder,
                           label_names[p], s->labels[p].count, s->base.count[p]);
        for (size_t i = 0; i < s->labels[p].count; i++)
            if (s->labels[p].values[i] >= s->base.classes)
                s->base.classes = (size_t)s->labels[p].values[i] + 1;
    }
    return 0;
}

/* The test labels may not go beyond the training ones: such a class can never be learned. */
static int check_labels(const struct idx_dataset *s, const char *folder, struct err *e)
{
    size_t known = 0;
    const struct idx_file *train = &s->labels[DATASET_TRAIN], *test = &s->labels[DATASET_TEST];
    for (size_t i = 0; i < train->count; i++)
        if (train->values[i] >= known) known = (size_t)train->values[i] + 1;
    for (size_t i = 0; i < test->count; i++)
        if (test->values[i] >= known)
            return err_set(e, ERR_DATA, "%.120s: %s: byte %zu: label %d, training has 0 to %zu",
                           folder, label_names[DATASET_TEST], 8 + i, test->values[i], known - 1);
    return 0;
}

static void digest_all(struct idx_dataset *s)
{
    uint8_t all[4][DIGEST_BYTES];
    for (int p = 0; p < DATASET_PARTS; p++) {
        digest_bytes(s->images[p].values, s->images[p].count, all[2 * p]);
        digest_bytes(s->labels[p].values, s->labels[p].count, all[2 * p + 1]);
    }
    digest_bytes(all, sizeof all, s->base.digest);
}

int idx_dataset_open(struct dataset **out, const char *folder, struct err *e)
{
    struct idx_dataset *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return err_set(e, ERR_NOMEM, "dataset");
    s->base.ops = &idx_ops;
    int rc = 0;
    for (int p = 0; rc == 0 && p < DATASET_PARTS; p++) {
        rc = idx_load(folder, image_names[p], 3, &s->images[p], e);
        if (rc == 0) rc = idx_load(folder, label_names[p], 1, &s->labels[p], e);
    }
    if (rc == 0) rc = take_shape(s, folder, e);
    if (rc == 0) rc = check_labels(s, folder, e);
    if (rc != 0) {
        idx_close(&s->base);
        return rc;
    }
    digest_all(s);
    *out = &s->base;
    return 0;
}
