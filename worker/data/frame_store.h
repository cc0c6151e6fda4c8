/* frame_store: the frames of all samples of event data, one byte a value until a count needs two.
 * Filled on the main thread, read on any. */
#ifndef WORKER_FRAME_STORE_H
#define WORKER_FRAME_STORE_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_STORE_BYTES_MAX ((size_t)8 << 30)

struct frame_store {
    size_t samples, values; /* values of a sample */
    uint8_t *narrow;        /* [samples][values], or NULL and */
    uint16_t *wide;
};
/* All zeros. Errors: ERR_DATA (more than FRAME_STORE_BYTES_MAX), ERR_NOMEM. */
int frame_store_init(struct frame_store *s, size_t samples, size_t values, struct err *e);
void frame_store_deinit(struct frame_store *s); /* safe on a zeroed store and when repeated */
/* Whole numbers of sample i. Errors: ERR_DATA (a count above 65535), ERR_NOMEM. */
int frame_store_put(struct frame_store *s, size_t i, const float *values, struct err *e);
void frame_store_get(const struct frame_store *s, size_t i, float *values);
size_t frame_store_bytes(const struct frame_store *s);

#endif
