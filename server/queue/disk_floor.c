/* disk_floor: see disk_floor.h. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <sys/statvfs.h>

struct disk_look disk_look(const char *folder)
{
    struct statvfs v;
    if (statvfs(folder, &v) != 0) return (struct disk_look){ 0, 0 };
    return (struct disk_look){ (uint64_t)v.f_bavail * v.f_frsize,
                               (uint64_t)v.f_blocks * v.f_frsize };
}

static bool below(const struct disk_look *l, int64_t percent)
{
    return l->total_bytes > 0 &&
           (double)l->free_bytes < (double)l->total_bytes * (double)percent / 100.0;
}

enum disk_room disk_judge(const struct disk_floor *d, int64_t low_percent, int64_t full_percent)
{
    if (below(&d->state, full_percent) || below(&d->files, full_percent)) return DISK_FULL;
    return below(&d->state, low_percent) || below(&d->files, low_percent) ? DISK_LOW : DISK_ENOUGH;
}

/* ---- looking --------------------------------------------------------------------------------- */
struct disk_work {
    uv_work_t work;
    struct queue *q;
    struct disk_look state, files;
};

static void take(struct queue *q, struct disk_look state, struct disk_look files)
{
    static const char *const words[] = {
        [DISK_ENOUGH] = "there is room on the disk again",
        [DISK_LOW] = "the disk is nearly full: nothing new is taken or started",
        [DISK_FULL] = "the disk is full: workers keep their points until there is room",
    };
    const enum disk_room before = q->disk.room;
    q->disk.state = state;
    q->disk.files = files;
    q->disk.room = disk_judge(&q->disk, q->o.disk_low_percent, q->o.disk_full_percent);
    if (q->disk.room != before) log_warn("server.queue", "%s", words[q->disk.room]);
}

static void look_in_pool(uv_work_t *w)
{
    struct disk_work *d = container_of(w, struct disk_work, work);
    d->state = disk_look(d->q->state_dir);
    d->files = disk_look(d->q->files_dir);
}

static void looked(uv_work_t *w, int status)
{
    struct disk_work *d = container_of(w, struct disk_work, work);
    struct queue *q = d->q;
    (void)status;
    q->reads--;
    q->disk.looking = false;
    take(q, d->state, d->files);
    mem_free(d);
    if (!q->closing) scheduler_run(q);
}

void disk_floor_begin(struct queue *q)
{
    take(q, disk_look(q->state_dir), disk_look(q->files_dir));
}

void disk_floor_tick(struct queue *q)
{
    const int64_t mono = clock_mono_ms();
    if (q->o.disk_check_s == 0 || q->disk.looking || mono < q->disk.next_ms) return;
    struct disk_work *d = mem_calloc(1, sizeof *d);
    q->disk.next_ms = mono + 1000 * q->o.disk_check_s;
    if (d == NULL) return;
    d->q = q;
    q->disk.looking = true;
    q->reads++; /* closing waits for it */
    (void)uv_queue_work(q->loop, &d->work, look_in_pool, looked);
}
