/* files: the log and the artifacts of an experiment's latest attempt. A requested name is looked up
 * among the entries of the folder, and the entry is opened: no path is ever built from a request.
 */
#include "server/api/api_internal.h"

#include "server/backup/tar_stream.h"
#include "server/http/body_stream.h"

#include "common/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_NAME "stdout.log"
#define LOG_PART_MAX ((int64_t)1024 * 1024)
#define TAIL_LINES_MAX 10000
#define ARTIFACTS_MAX 10000

struct files_work {
    struct api_work work;
    char dir[PATH_MAX];
    char name[256];            /* artifact wanted */
    char tag[DIGEST_HEX_MAX + 40]; /* its ETag */
    struct digest_cache *digests;
    int64_t tail, offset, limit;
    cJSON *json;
    char *text;
    size_t length;
    int64_t next_offset, size;
    int fd;
};

static struct files_work *start(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    struct files_work *f = x != NULL ? mem_calloc(1, sizeof *f) : NULL;
    if (f == NULL) {
        if (x != NULL) api_problem(r, ERR_NOMEM, "request");
        return NULL;
    }
    struct err e = { 0 };
    f->fd = -1;
    f->digests = &api_of(r)->digests;
    if (queue_attempt_dir(api_of(r)->queue, x->id, f->dir, sizeof f->dir, &e) == 0) return f;
    mem_free(f);
    respond_problem(r, &e, NULL);
    return NULL;
}

/* ---- the folder ------------------------------------------------------------------------------ */
/* Messages not yet taken over, and half-written files, are nobody's artifact. */
static bool is_artifact(const char *name)
{
    const size_t n = strlen(name);
    return name[0] != '.' && strcmp(name, "spool") != 0 &&
           !(n > 4 && strcmp(name + n - 4, ".tmp") == 0);
}

/* Opens a regular file of the folder; -1 = none of that name. */
static int open_entry(DIR *dir, const char *name, struct stat *st)
{
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (strcmp(d->d_name, name) != 0) continue;
        const int fd = openat(dirfd(dir), d->d_name,
                              O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return fd;
        if (fd >= 0) (void)close(fd);
        return -1;
    }
    return -1;
}

static int open_named(const char *folder, const char *name, struct stat *st)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) return -1;
    const int fd = open_entry(dir, name, st);
    (void)closedir(dir);
    return fd;
}

static int read_all(int fd, char *out, int64_t from, int64_t n, size_t *got, struct err *e)
{
    *got = 0;
    while ((int64_t)*got < n) {
        const ssize_t part = pread(fd, out + *got, (size_t)n - *got, from + (int64_t)*got);
        if (part == 0) break;
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return err_errno(e, errno, "file");
        *got += (size_t)part;
    }
    return 0;
}

/* ---- artifacts ------------------------------------------------------------------------------- */
static bool add_artifact(cJSON *list, const char *name, const struct stat *st)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    const int64_t ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
    return cJSON_AddStringToObject(o, "path", name) != NULL &&
           json_add_int(o, "bytes", st->st_size) && json_add_time(o, "modified_at", ms);
}

static int artifacts_only(const struct dirent *d) { return is_artifact(d->d_name); }

static void list_artifacts(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    struct dirent **names = NULL;
    const int n = scandir(f->dir, &names, artifacts_only, alphasort);
    f->json = cJSON_CreateObject();
    cJSON *list = f->json != NULL ? cJSON_AddArrayToObject(f->json, "items") : NULL;
    bool ok = list != NULL;
    const int folder = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < n; i++) {
        struct stat st;
        if (ok && i < ARTIFACTS_MAX &&
            fstatat(folder, names[i]->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            ok = add_artifact(list, names[i]->d_name, &st);
        free(names[i]); /* tidy: scandir's own */
    }
    free(names); /* tidy: scandir's own */
    if (folder >= 0) (void)close(folder);
    if (!ok) (void)err_set(&w->err, ERR_NOMEM, "artifacts");
}

static void answer_list(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    if (w->err.code != ERR_OK) respond_problem(w->r, &w->err, NULL);
    else respond_json(w->r, 200, f->json);
    cJSON_Delete(f->json);
    mem_free(f);
}

void api_artifacts(struct request *r)
{
    struct files_work *f = start(r);
    if (f != NULL) api_work_start(&f->work, r, list_artifacts, answer_list);
}

/* Of a larger one inode, size and time are its tag: to read it whole for every first download would
 * take longer than the download's part may. */
#define DIGEST_FILE_MAX ((off_t)256 << 20)
static int make_tag(struct files_work *f, const struct stat *st, struct err *e)
{
    char hex[DIGEST_HEX_MAX];
    if (st->st_size > DIGEST_FILE_MAX) {
        (void)snprintf(f->tag, sizeof f->tag, "\"%llx-%llx-%llx.%lx\"",
                       (unsigned long long)st->st_ino, (unsigned long long)st->st_size,
                       (unsigned long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
        return 0;
    }
    if (digest_cache_of(f->digests, f->fd, st, hex, e) != 0) return (int)e->code;
    (void)snprintf(f->tag, sizeof f->tag, "\"%s\"", hex);
    return 0;
}

static void open_artifact(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    struct stat st;
    f->fd = is_artifact(f->name) ? open_named(f->dir, f->name, &st) : -1;
    if (f->fd < 0) (void)err_set(&w->err, ERR_NOT_FOUND, "there is no artifact %.150s", f->name);
    else if (make_tag(f, &st, &w->err) == 0) f->size = st.st_size;
    if (w->err.code == ERR_OK || f->fd < 0) return;
    (void)close(f->fd);
}

/* "bytes=A-B", "bytes=A-", "bytes=-N". 1 = a part, 0 = the whole (no or unknown header), -1 =
 * outside. */
static int read_range(const char *text, int64_t size, int64_t *from, int64_t *to)
{
    *from = 0;
    *to = size - 1;
    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || strchr(text, ',') != NULL) return 0;
    char *end;
    if (text[6] == '-') {
        const int64_t n = strtoll(text + 7, &end, 10);
        if (*end != '\0' || n <= 0) return -1;
        *from = n < size ? size - n : 0;
        return size > 0 ? 1 : -1;
    }
    *from = strtoll(text + 6, &end, 10);
    if (*end != '-' || *from < 0 || *from >= size) return -1;
    if (end[1] != '\0') {
        *to = strtoll(end + 1, &end, 10);
        if (*end != '\0' || *to < *from) return -1;
        if (*to >= size) *to = size - 1;
    }
    return 1;
}

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (dot == NULL) return "application/octet-stream";
    if (strcmp(dot, ".json") == 0) return "application/json";
    if (strcmp(dot, ".ndjson") == 0) return "application/x-ndjson";
    return strcmp(dot, ".log") == 0 ? "text/plain; charset=utf-8" : "application/octet-stream";
}

/* A part of a file, read while it is sent. */
struct file_part {
    struct body_source body;
    int fd;
    int64_t at, left;
};

static int read_part(struct body_source *body, unsigned char *out, size_t room, size_t *got,
                     struct err *e)
{
    struct file_part *p = container_of(body, struct file_part, body);
    const size_t n = p->left < (int64_t)room ? (size_t)p->left : room;
    if (read_all(p->fd, (char *)out, p->at, (int64_t)n, got, e) != 0) return (int)e->code;
    if (*got < n) return err_set(e, ERR_IO, "a file became shorter while it was sent");
    p->at += (int64_t)n;
    p->left -= (int64_t)n;
    return 0;
}

static void close_part(struct body_source *body)
{
    (void)close(container_of(body, struct file_part, body)->fd);
}

static void part_closed(struct body_source *body, const struct err *e)
{
    (void)e;
    mem_free(container_of(body, struct file_part, body));
}

static void send_part(struct request *r, struct files_work *f, int kind, int64_t from, int64_t to)
{
    struct file_part *p = mem_calloc(1, sizeof *p);
    struct MHD_Response *m = NULL;
    if (p != NULL) {
        *p = (struct file_part){
            { read_part, close_part, part_closed }, f->fd, from, to - from + 1
        };
        m = body_stream_response(r, &p->body, (uint64_t)p->left);
    }
    if (m == NULL) {
        mem_free(p);
        (void)close(f->fd);
        api_problem(r, ERR_NOMEM, "answer");
        return;
    }
    char range[80];
    (void)snprintf(range, sizeof range, "bytes %lld-%lld/%lld", (long long)from, (long long)to,
                   (long long)f->size);
    (void)MHD_add_response_header(m, "Content-Type", type_of(f->name));
    (void)MHD_add_response_header(m, "Content-Disposition", "attachment");
    (void)MHD_add_response_header(m, "Accept-Ranges", "bytes");
    (void)MHD_add_response_header(m, "Cache-Control", "no-cache");
    (void)MHD_add_response_header(m, "ETag", f->tag);
    if (kind == 1) (void)MHD_add_response_header(m, "Content-Range", range);
    respond_with(r, kind == 1 ? 206 : 200, m);
}

static void answer_artifact(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    int64_t from, to;
    const char *have = request_header(w->r, "If-None-Match"),
               *only = request_header(w->r, "If-Range");
    if (w->err.code != ERR_OK) {
        respond_problem(w->r, &w->err, NULL);
    } else if (have != NULL && strcmp(have, f->tag) == 0) {
        (void)close(f->fd);
        respond_empty(w->r, 304);
        respond_header(w->r, "ETag", f->tag);
    } else {
        const bool part = only == NULL || strcmp(only, f->tag) == 0;
        const int kind = read_range(part ? request_header(w->r, "Range") : NULL, f->size, &from,
                                    &to);
        if (kind >= 0) {
            send_part(w->r, f, kind, from, to);
        } else {
            char range[40];
            (void)close(f->fd);
            (void)snprintf(range, sizeof range, "bytes */%lld", (long long)f->size);
            respond_empty(w->r, 416);
            respond_header(w->r, "Content-Range", range);
        }
    }
    mem_free(f);
}

void api_artifact(struct request *r)
{
    struct files_work *f = start(r);
    if (f == NULL) return;
    (void)snprintf(f->name, sizeof f->name, "%.255s", r->params[1]);
    api_work_start(&f->work, r, open_artifact, answer_artifact);
}

/* ---- all of them ----------------------------------------------------------------------------- */
struct archive {
    struct body_source body;
    struct tar_stream tar;
    char dir[PATH_MAX];
    struct dirent **names; /* NULL = the folder is not read yet */
    int n_names, at;
};

static int next_artifact(struct tar_stream *t, struct tar_member *m, bool *more, struct err *e)
{
    struct archive *a = container_of(t, struct archive, tar);
    struct stat st;
    if (a->names == NULL) {
        a->n_names = scandir(a->dir, &a->names, artifacts_only, alphasort);
        if (a->n_names < 0) return err_errno(e, errno, "%.150s", a->dir);
    }
    *more = false;
    while (!*more && a->at < a->n_names) {
        const char *name = a->names[a->at++]->d_name;
        m->fd = open_named(a->dir, name, &st);
        if (m->fd < 0) continue; /* no file, or an older checkpoint that went meanwhile */
        (void)snprintf(m->name, sizeof m->name, "%s", name);
        m->bytes = (uint64_t)st.st_size;
        m->mtime_s = st.st_mtim.tv_sec;
        *more = true;
    }
    return 0;
}

static int read_archive(struct body_source *body, unsigned char *out, size_t room, size_t *got,
                        struct err *e)
{
    return tar_stream_read(&container_of(body, struct archive, body)->tar, out, room, got, e);
}

static void close_archive(struct body_source *body)
{
    struct archive *a = container_of(body, struct archive, body);
    tar_stream_deinit(&a->tar);
    for (int i = 0; i < a->n_names; i++) free(a->names[i]); /* tidy: scandir's own */
    free(a->names);                                         /* tidy: scandir's own */
}

static void archive_closed(struct body_source *body, const struct err *e)
{
    (void)e;
    mem_free(container_of(body, struct archive, body));
}

void api_artifacts_tar(struct request *r)
{
    const struct experiment *x = api_experiment(r);
    struct err e = { 0 };
    if (x == NULL) return;
    struct archive *a = mem_calloc(1, sizeof *a);
    struct MHD_Response *m = NULL;
    if (a == NULL) (void)err_set(&e, ERR_NOMEM, "answer");
    else if (queue_attempt_dir(api_of(r)->queue, x->id, a->dir, sizeof a->dir, &e) == 0) {
        a->body = (struct body_source){ read_archive, close_archive, archive_closed };
        tar_stream_init(&a->tar);
        a->tar.next = next_artifact;
        m = body_stream_response(r, &a->body, MHD_SIZE_UNKNOWN);
        if (m == NULL) (void)err_set(&e, ERR_NOMEM, "answer");
    }
    if (m == NULL) {
        mem_free(a);
        respond_problem(r, &e, NULL);
        return;
    }
    (void)MHD_add_response_header(m, "Content-Type", "application/x-tar");
    (void)MHD_add_response_header(m, "Content-Disposition", "attachment");
    (void)MHD_add_response_header(m, "Cache-Control", "no-store");
    respond_with(r, 200, m);
}

/* ---- log ------------------------------------------------------------------------------------- */
/* Start of the last `lines` lines of text. */
static size_t tail_start(const char *text, size_t n, int64_t lines)
{
    size_t at = n;
    if (at > 0 && text[at - 1] == '\n') at--;
    for (; at > 0; at--)
        if (text[at - 1] == '\n' && --lines == 0) break;
    return at;
}

static void read_log(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    struct stat st;
    const int fd = open_named(f->dir, LOG_NAME, &st);
    if (fd < 0) { /* the worker has not written a line yet */
        f->text = mem_strdup("");
        return;
    }
    const bool tail = f->tail > 0;
    int64_t n = tail ? LOG_PART_MAX : f->limit;
    int64_t from = tail ? (st.st_size > n ? st.st_size - n : 0) : f->offset;
    if (from > st.st_size) from = st.st_size;
    if (n > st.st_size - from) n = st.st_size - from;
    f->text = mem_alloc((size_t)n + 1);
    if (f->text == NULL) (void)err_set(&w->err, ERR_NOMEM, "log");
    else (void)read_all(fd, f->text, from, n, &f->length, &w->err);
    f->next_offset = from + (int64_t)f->length;
    (void)close(fd);
    if (w->err.code != ERR_OK || !tail) return;
    const size_t start_at = tail_start(f->text, f->length, f->tail);
    f->length -= start_at;
    memmove(f->text, f->text + start_at, f->length);
}

static void answer_log(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    if (w->err.code != ERR_OK || f->text == NULL) {
        respond_problem(w->r, &w->err, NULL);
    } else {
        char offset[24];
        (void)snprintf(offset, sizeof offset, "%lld", (long long)f->next_offset);
        respond_text(w->r, 200, "text/plain; charset=utf-8", f->text, f->length);
        if (w->r->response != NULL) respond_header(w->r, "X-Next-Offset", offset);
    }
    mem_free(f->text);
    mem_free(f);
}

void api_logs(struct request *r)
{
    int64_t tail, offset, limit;
    if (!api_query_known(r, "tail|offset|limit") ||
        !request_query_int(r, "offset", -1, 0, INT64_MAX, &offset) ||
        !request_query_int(r, "tail", offset < 0 ? 200 : 0, 1, TAIL_LINES_MAX, &tail) ||
        !request_query_int(r, "limit", LOG_PART_MAX, 1, LOG_PART_MAX, &limit))
        return;
    struct files_work *f = start(r);
    if (f == NULL) return;
    f->tail = tail;
    f->offset = offset;
    f->limit = limit;
    api_work_start(&f->work, r, read_log, answer_log);
}
