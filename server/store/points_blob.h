/* points_blob: points as they stand in a chunk: 24 bytes each, native little-endian. */
#ifndef SERVER_POINTS_BLOB_H
#define SERVER_POINTS_BLOB_H

#include "common/series.h"

#include <string.h>

#define POINT_BYTES 24
#define CHUNK_POINTS_MAX 512

static inline void point_pack(const struct point *p, unsigned char out[POINT_BYTES])
{
    memcpy(out, &p->step, 8);
    memcpy(out + 8, &p->time_ms, 8);
    memcpy(out + 16, &p->value, 8);
}

static inline struct point point_unpack(const unsigned char *in)
{
    struct point p;
    memcpy(&p.step, in, 8);
    memcpy(&p.time_ms, in + 8, 8);
    memcpy(&p.value, in + 16, 8);
    return p;
}

#endif
