/* dataset: samples of a classification problem behind one ops struct. Opened once by train/ on the
 * main thread; dataset_read is pure and may run on any thread. */
#ifndef WORKER_DATASET_H
#define WORKER_DATASET_H

#include "common/digest.h"
#include "common/err.h"
#include "common/spec.h"

#include <stddef.h>
#include <stdint.h>

enum dataset_part { DATASET_TRAIN, DATASET_TEST, DATASET_PARTS };

struct dataset;
struct dataset_ops {
    /* Pixels of sample i in [0, 1], [C][H][W], shape.c * shape.h * shape.w floats. */
    void (*read)(const struct dataset *d, enum dataset_part part, size_t i, float *out);
    uint32_t (*label)(const struct dataset *d, enum dataset_part part, size_t i);
    void (*close)(struct dataset *d);
};
struct dataset {
    const struct dataset_ops *ops;
    size_t c, h, w, classes;
    size_t count[DATASET_PARTS];
    size_t bytes;                 /* of the samples in memory */
    uint8_t digest[DIGEST_BYTES]; /* of the data: part of the result hash */
};

/* name: built-in, or a folder of data_dir in IDX form. data_dir may be NULL for built-in ones.
 * Errors: ERR_DATA (names file and byte offset), ERR_NOT_FOUND (no such folder), ERR_NOMEM. */
int dataset_open(struct dataset **out, const char *name, const char *data_dir, struct err *e);
void dataset_close(struct dataset *d); /* NULL is fine */

/* The makers dataset_open chooses from. */
int idx_dataset_open(struct dataset **out, const char *folder, struct err *e);
int glyphs_open(struct dataset **out, struct err *e);

#endif
