/* spool: every frame of an attempt, written before it is sent (design 6). The training thread
 * appends; the sending thread reads what lies behind the acknowledged frame. Guarded by a mutex. */
#ifndef WORKER_SPOOL_H
#define WORKER_SPOOL_H

#include "common/err.h"
#include "common/wire.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SPOOL_BYTES_MAX \
    ((off_t)1 << 30) /* beyond it records are dropped and counted, points never */

struct spool {
    int fd;
    pthread_mutex_t lock;
    uint64_t last_frame;     /* highest number written */
    uint64_t acked_frame;    /* highest the daemon has committed */
    uint64_t durable_frame;  /* highest the daemon has on disk for good */
    off_t end;               /* bytes written */
    off_t sent_at;           /* offset behind the acknowledged frames */
    uint64_t dropped_records;
    struct wire_buf buf;
};
/* Opens or makes the file; an existing one is walked and cut behind its last whole frame.
 * Errors: ERR_IO, ERR_NOMEM. */
int spool_open(struct spool *s, const char *path, struct err *e);
void spool_close(
    struct spool *s); /* safe on a zeroed spool that was never opened (fd 0 is not ours) */
int spool_points(struct spool *s, const struct wire_series *series, size_t n, struct err *e);
int spool_record(struct spool *s, const struct record *r, struct err *e);
int spool_sync(struct spool *s, struct err *e);
/* Up to `size` bytes of whole frames behind the acknowledged one; *length 0 = nothing to send. */
int spool_read(struct spool *s, unsigned char *out, size_t size, size_t *length, struct err *e);
/* The daemon's answer. Frames up to `durable` may be forgotten when everything is. */
void spool_acked(struct spool *s, uint64_t acked, uint64_t durable);
bool spool_drained(struct spool *s);
/* Cuts the file when every frame in it is durable: called just after a checkpoint. Errors:
 * ERR_IO. */
int spool_trim(struct spool *s, struct err *e);

#endif
