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
    /* Sample i, t * c * h * w floats [T][C][H][W]. Images have pixels in [0, 1], events counts. */
    void (*read)(const struct dataset *d, enum dataset_part part, size_t i, float *out);
    uint32_t (*label)(const struct dataset *d, enum dataset_part part, size_t i);
    void (*close)(struct dataset *d);
    /* Time-steps of sample i, 1 .. t; only asked of data with lengths of their own. */
    uint32_t (*length)(const struct dataset *d, enum dataset_part part, size_t i);
};
struct dataset {
    const struct dataset_ops *ops;
    enum spec_data_kind kind;
    size_t t; /* time-steps of a sample; 1: an image, the same at every time-step */
    size_t c, h, w, classes;
    size_t count[DATASET_PARTS];
    size_t bytes;                 /* of the samples in memory */
    bool own_lengths;             /* samples may end before t time-steps */
    uint8_t digest[DIGEST_BYTES]; /* of the data: part of the result hash */
};

/* What to open. Events become `time_steps` frames as spec->frames says. */
struct dataset_request {
    const struct spec_dataset *spec;
    size_t time_steps;
    const char *data_dir; /* may be NULL for built-in data */
};
/* spec->name: built-in, or a folder of data_dir in a published form (IDX, CIFAR binary, NumPy).
 * Errors: ERR_DATA (names file and byte offset), ERR_NOT_FOUND (no such folder), ERR_NOMEM. */
int dataset_open(struct dataset **out, const struct dataset_request *r, struct err *e);
void dataset_close(struct dataset *d); /* NULL is fine */

/* The makers dataset_open chooses from. */
int cifar_open(struct dataset **out, const char *folder, const char *name, struct err *e);
int idx_dataset_open(struct dataset **out, const char *folder, struct err *e);
bool event_files_know(const char *name); /* n-mnist */
int event_files_open(struct dataset **out, const char *folder, const struct dataset_request *r,
                     struct err *e);
int npy_dataset_open(struct dataset **out, const char *folder, size_t time_steps, struct err *e);
int glyphs_open(struct dataset **out, struct err *e);
int moving_glyphs_open(struct dataset **out, const struct dataset_request *r, struct err *e);
int recall_open(struct dataset **out, const struct dataset_request *r, struct err *e);

#endif
