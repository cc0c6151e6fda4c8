/* spool: see spool.h. Frame numbers never begin again inside an attempt: a trimmed file is empty,
 * and the next frame goes on counting. */
#include "worker/report/spool.h"

#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define WALK_BYTES (2 * WIRE_FRAME_BYTES_MAX)

/* Walks whole frames from offset `from`; stops at a torn or damaged one. Calls nothing: only finds
 * where the frames end and the number of the last. */
static int walk(struct spool *s, off_t from, struct err *e)
{
    unsigned char *data = mem_alloc(WALK_BYTES);
    if (data == NULL) return err_set(e, ERR_NOMEM, "spool");
    bool more = true;
    int rc = 0;
    while (more && rc == 0) {
        const ssize_t got = pread(s->fd, data, WALK_BYTES, from);
        if (got < 0) rc = err_errno(e, errno, "spool");
        size_t at = 0, used;
        struct wire_frame f;
        struct err torn = { 0 };
        while (got > 0 && wire_next(data + at, (size_t)got - at, &used, &f, &torn) == 1) {
            at += used;
            s->last_frame = f.number;
        }
        from += (off_t)at;
        more = at > 0;
    }
    s->end = from;
    mem_free(data);
    return rc;
}

int spool_open(struct spool *s, const char *path, struct err *e)
{
    *s = (struct spool){ .fd = -1 };
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err_errno(e, errno, "%.150s", path);
    s->fd = fd;
    pthread_mutex_init(&s->lock, NULL);
    int rc = walk(s, 0, e);
    if (rc == 0 && ftruncate(fd, s->end) != 0) rc = err_errno(e, errno, "%.150s", path);
    if (rc != 0) spool_close(s);
    return rc;
}

void spool_close(struct spool *s)
{
    if (s->fd <= 0) return;
    (void)close(s->fd);
    pthread_mutex_destroy(&s->lock);
    wire_buf_deinit(&s->buf);
    *s = (struct spool){ .fd = -1 };
}

/* Appends what is in buf. Lock held. */
static int append(struct spool *s, struct err *e)
{
    size_t done = 0;
    while (done < s->buf.length) {
        const ssize_t n = pwrite(s->fd, s->buf.data + done, s->buf.length - done,
                                 s->end + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_errno(e, errno, "spool");
        done += (size_t)n;
    }
    s->end += (off_t)s->buf.length;
    s->last_frame++;
    return 0;
}

int spool_points(struct spool *s, const struct wire_series *series, size_t n, struct err *e)
{
    pthread_mutex_lock(&s->lock);
    s->buf.length = 0;
    int rc = wire_put_points(&s->buf, s->last_frame + 1, series, n, e);
    if (rc == 0) rc = append(s, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int spool_record(struct spool *s, const struct record *r, struct err *e)
{
    pthread_mutex_lock(&s->lock);
    int rc = 0;
    if (s->end > SPOOL_BYTES_MAX) {
        s->dropped_records++;
    } else {
        s->buf.length = 0;
        rc = wire_put_record(&s->buf, s->last_frame + 1, r, e);
        if (rc == 0) rc = append(s, e);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int spool_sync(struct spool *s, struct err *e)
{
    return fdatasync(s->fd) == 0 ? 0 : err_errno(e, errno, "spool");
}

/* Bytes at the start of data that are whole frames; *last gets the number of the last one. */
static size_t whole_frames(const unsigned char *data, size_t length, uint64_t skip_until,
                           size_t *skipped)
{
    size_t at = 0, used;
    struct wire_frame f;
    struct err torn = { 0 };
    *skipped = 0;
    while (wire_next(data + at, length - at, &used, &f, &torn) == 1) {
        at += used;
        if (f.number <= skip_until) *skipped = at;
    }
    return at;
}

int spool_read(struct spool *s, unsigned char *out, size_t size, size_t *length, struct err *e)
{
    pthread_mutex_lock(&s->lock);
    *length = 0;
    int rc = 0;
    while (rc == 0 && *length == 0 && s->sent_at < s->end) {
        const size_t left = (size_t)(s->end - s->sent_at);
        const ssize_t got = pread(s->fd, out, left < size ? left : size, s->sent_at);
        if (got < 0) {
            rc = err_errno(e, errno, "spool");
            break;
        }
        size_t skipped;
        const size_t whole = whole_frames(out, (size_t)got, s->acked_frame, &skipped);
        if (whole == 0) {
            rc = err_set(e, ERR_IO, "spool is damaged at byte %lld", (long long)s->sent_at);
            break;
        }
        s->sent_at += (off_t)skipped;
        memmove(out, out + skipped, whole - skipped);
        *length = whole - skipped;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void spool_acked(struct spool *s, uint64_t acked, uint64_t durable)
{
    pthread_mutex_lock(&s->lock);
    if (acked > s->acked_frame) s->acked_frame = acked;
    if (durable > s->durable_frame) s->durable_frame = durable;
    if (acked > s->last_frame)
        s->last_frame = acked; /* the file was lost, the daemon's count was not */
    pthread_mutex_unlock(&s->lock);
}

bool spool_drained(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    const bool drained = s->acked_frame >= s->last_frame;
    pthread_mutex_unlock(&s->lock);
    return drained;
}

int spool_trim(struct spool *s, struct err *e)
{
    pthread_mutex_lock(&s->lock);
    int rc = 0;
    if (s->end > 0 && s->durable_frame >= s->last_frame) {
        if (ftruncate(s->fd, 0) != 0) rc = err_errno(e, errno, "spool");
        else s->end = s->sent_at = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}
