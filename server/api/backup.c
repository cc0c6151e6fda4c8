/* backup: POST /admin/backup: copies of both databases while everything goes on, and then the tar
 * archive of them and of the experiments' files, made while it is sent. One at a time. */
#include "server/api/api_internal.h"

#include "common/log.h"
#include "server/backup/backup_folder.h"
#include "server/backup/backup_source.h"
#include "server/backup/online_copy.h"
#include "server/http/body_stream.h"

#include <string.h>
#include <unistd.h>

#define READ_PAUSE_US 2000 /* between two parts of 256 KiB: training has the disk, too */

struct backup {
    struct body_source body;
    struct api *api;
    struct request *r;
    struct online_copy *copy; /* NULL: they are made */
    struct backup_source *source;
    bool files;
    char dir[BACKUP_FOLDER_MAX];
};

static void over(struct backup *b)
{
    if (!b->api->stopping) queue_hold(b->api->queue, false); /* else it is gone, or soon */
    b->api->backup = NULL;
    backup_source_free(b->source);
    mem_free(b);
}

/* ---- the archive ----------------------------------------------------------------------------- */
static int read_part(struct body_source *body, unsigned char *out, size_t room, size_t *got,
                     struct err *e)
{
    struct backup *b = container_of(body, struct backup, body);
    (void)usleep(READ_PAUSE_US);
    return backup_source_read(b->source, out, room, got, e);
}

static void close_in_pool(struct body_source *body)
{
    struct backup *b = container_of(body, struct backup, body);
    backup_source_free(b->source);
    b->source = NULL;
    backup_folder_remove(b->api->state_dir);
}

static void archive_closed(struct body_source *body, const struct err *e)
{
    struct backup *b = container_of(body, struct backup, body);
    if (e->code == ERR_OK) log_info("server.api", "backup: ended");
    over(b);
}

static int open_archive(struct backup *b, struct err *e)
{
    const struct backup_parts parts = { b->dir, b->api->state_dir,
                                        b->files ? b->api->files_dir : NULL };
    b->body = (struct body_source){ read_part, close_in_pool, archive_closed };
    return backup_source_new(&b->source, &parts, e);
}

static void copied(void *ctx, const struct err *from)
{
    struct backup *b = ctx;
    struct request *r = b->r;
    struct err e = *from;
    b->copy = NULL;
    struct MHD_Response *m = NULL;
    if (e.code == ERR_OK && open_archive(b, &e) == 0) {
        m = body_stream_response(r, &b->body, MHD_SIZE_UNKNOWN);
        if (m == NULL) (void)err_set(&e, ERR_NOMEM, "answer");
    }
    if (m == NULL) {
        log_error("server.api", "backup: %s", e.text);
        backup_folder_remove(b->api->state_dir);
        over(b);
        respond_problem(r, &e, NULL);
        return;
    }
    (void)MHD_add_response_header(m, "Content-Type", "application/x-tar");
    (void)MHD_add_response_header(m, "Cache-Control", "no-store");
    (void)MHD_add_response_header(m, "Content-Disposition",
                                  "attachment; filename=\"spiked-backup.tar\"");
    respond_with(r, 200, m);
}

/* ---- the request ----------------------------------------------------------------------------- */
/* {} or {"files": false}; false after a problem was answered. */
static bool read_body(struct request *r, bool *files)
{
    cJSON *body = api_body(r);
    if (body == NULL) return false;
    const cJSON *item = body->child;
    const bool known = item == NULL || (item->next == NULL && strcmp(item->string, "files") == 0 &&
                                        cJSON_IsBool(item));
    *files = json_get_bool(body, "files", true);
    if (!known) api_problem(r, ERR_INVALID, "the body may have files, true or false, alone");
    cJSON_Delete(body);
    return known;
}

static int begin(struct backup *b, struct err *e)
{
    struct api *a = b->api;
    if (backup_folder_make(a->state_dir, b->dir, e) != 0) return (int)e->code;
    return online_copy_start(&b->copy, a->loop, queue_metrics_store(a->queue),
                             queue_store(a->queue), b->dir, copied, b, e);
}

void api_backup(struct request *r)
{
    struct api *a = api_of(r);
    struct err e = { 0 };
    bool files;
    if (!read_body(r, &files)) return;
    if (a->backup != NULL) {
        api_problem(r, ERR_CONFLICT, "a backup is under way");
        return;
    }
    struct backup *b = mem_calloc(1, sizeof *b);
    if (b == NULL) {
        api_problem(r, ERR_NOMEM, "backup");
        return;
    }
    b->api = a;
    b->r = r;
    b->files = files;
    if (begin(b, &e) != 0) {
        over(b);
        respond_problem(r, &e, NULL);
        return;
    }
    a->backup = b;
    queue_hold(a->queue, true);
    log_info("server.api", "backup: copying the databases for %s", r->who.user);
    request_suspend(r);
}

void api_backup_stop(struct api *a)
{
    if (a->backup != NULL && a->backup->copy != NULL) online_copy_stop(a->backup->copy);
}
