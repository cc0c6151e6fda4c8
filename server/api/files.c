/* files: the log and the artifacts of an experiment's latest attempt. A requested name is looked up
 * among the entries of the folder, and the entry is opened: no path is ever built from a request.
 */
#include "server/api/api_internal.h"

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

static void open_artifact(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    struct stat st;
    f->fd = is_artifact(f->name) ? open_named(f->dir, f->name, &st) : -1;
    if (f->fd < 0) (void)err_set(&w->err, ERR_NOT_FOUND, "there is no artifact %.150s", f->name);
    else f->size = st.st_size;
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

static void send_part(struct request *r, struct files_work *f, int kind, int64_t from, int64_t to)
{
    struct MHD_Response *m = MHD_create_response_from_fd_at_offset64((uint64_t)(to - from + 1),
                                                                     f->fd, (uint64_t)from);
    if (m == NULL) {
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
    if (kind == 1) (void)MHD_add_response_header(m, "Content-Range", range);
    r->answer_bytes = (uint64_t)(to - from + 1);
    respond_with(r, kind == 1 ? 206 : 200, m);
}

static void answer_artifact(struct api_work *w)
{
    struct files_work *f = container_of(w, struct files_work, work);
    int64_t from, to;
    if (w->err.code != ERR_OK) {
        respond_problem(w->r, &w->err, NULL);
    } else {
        const int kind = read_range(request_header(w->r, "Range"), f->size, &from, &to);
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

static int read_all(int fd, char *out, int64_t from, int64_t n, size_t *got, struct err *e)
{
    *got = 0;
    while ((int64_t)*got < n) {
        const ssize_t part = pread(fd, out + *got, (size_t)n - *got, from + (int64_t)*got);
        if (part == 0) break;
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return err_errno(e, errno, "log");
        *got += (size_t)part;
    }
    return 0;
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
