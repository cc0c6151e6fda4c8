/* backup_source: see backup_source.h. */
#include "server/backup/backup_source.h"

#include "build_id.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/list.h"
#include "common/mem.h"
#include "common/uid.h"
#include "server/backup/tar_stream.h"
#include "server/store/stmt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum part { PART_METRICS, PART_MAIN, PART_FILES, PART_DIGESTS, PART_MANIFEST, PART_END };
struct backup_source {
    struct tar_stream tar;
    enum part part;
    char *copies_dir, *state_dir, *files_dir; /* files_dir NULL: databases alone */
    FILE *digests;
    sqlite3 *db; /* the copy of spiked.db */
    struct stmt next_experiment;
    /* The experiment whose files are read: folder 0 is its own, N that of attempt N. */
    int64_t id, attempts, folder;
    char uid[UID_TEXT_MAX];
    struct dirent **names; /* of the folder, in order; NULL = it is not read yet */
    int n_names, at;
    int64_t members;
    char digests_sha[DIGEST_HEX_MAX];
    char *manifest;
};

static int open_file(struct tar_member *m, const char *path, struct err *e)
{
    struct stat st;
    m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (m->fd < 0 || fstat(m->fd, &st) != 0) return err_errno(e, errno, "%.150s", path);
    m->bytes = (uint64_t)st.st_size;
    m->mtime_s = st.st_mtim.tv_sec;
    return 0;
}

static int open_copy(struct backup_source *s, struct tar_member *m, const char *name, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    (void)snprintf(path, sizeof path, "%s/%s", s->copies_dir, name);
    return open_file(m, path, e);
}

/* ---- files of experiments -------------------------------------------------------------------- */
/* Half-written files and what locks a worker out are nobody's data. */
static int is_data(const struct dirent *d)
{
    const size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && strcmp(d->d_name, "lock") != 0 &&
           !(n > 4 && strcmp(d->d_name + n - 4, ".tmp") == 0);
}

static void forget_names(struct backup_source *s)
{
    for (int i = 0; i < s->n_names; i++) free(s->names[i]); /* tidy: scandir's own */
    free(s->names);                                         /* tidy: scandir's own */
    s->names = NULL;
    s->n_names = s->at = 0;
}

static int folder_path(const struct backup_source *s, char *out, size_t size)
{
    return s->folder == 0 ? snprintf(out, size, "%s", s->uid)
                          : snprintf(out, size, "%s/attempt-%" PRId64, s->uid, s->folder);
}

/* A checkpoint comes before the spool of its attempt, by its name: all points up to it are in that
 * spool, or were in metrics.db before. */
static int read_names(struct backup_source *s, struct err *e)
{
    char folder[80], path[PATH_MAX];
    (void)folder_path(s, folder, sizeof folder);
    (void)snprintf(path, sizeof path, "%s/%s", s->files_dir, folder);
    s->at = 0;
    s->n_names = scandir(path, &s->names, is_data, alphasort);
    if (s->n_names >= 0) return 0;
    s->names = NULL;
    s->n_names = 0;
    return errno == ENOENT ? 0 : err_errno(e, errno, "%.150s", path);
}

/* 1: m is the next file of this folder; 0: there is none; -1: see e. */
static int next_in_folder(struct backup_source *s, struct tar_member *m, struct err *e)
{
    while (s->at < s->n_names) {
        const char *name = s->names[s->at++]->d_name;
        char folder[80], path[PATH_MAX];
        struct stat st;
        (void)folder_path(s, folder, sizeof folder);
        (void)snprintf(path, sizeof path, "%s/%s/%s", s->files_dir, folder, name);
        if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) continue;
        struct err gone = { 0 };
        if (open_file(m, path, &gone) != 0) {
            if (gone.source_code == ENOENT) continue; /* an older checkpoint that went meanwhile */
            *e = gone;
            return -1;
        }
        if (snprintf(m->name, sizeof m->name, "files/%s/%s", folder, name) < (int)sizeof m->name)
            return 1;
        (void)err_set(e, ERR_INVALID, "the name of %.150s does not fit into a tar archive", path);
        return -1;
    }
    return 0;
}

/* 1: there is one; 0: no; -1: see e. */
static int next_experiment(struct backup_source *s, struct err *e)
{
    stmt_bind(&s->next_experiment, "i", s->id);
    const int got = stmt_step(&s->next_experiment, e);
    if (got == 1) {
        s->id = stmt_int(&s->next_experiment, 0);
        s->attempts = stmt_int(&s->next_experiment, 2);
        s->folder = -1;
        (void)snprintf(s->uid, sizeof s->uid, "%s", stmt_text(&s->next_experiment, 1));
    }
    stmt_reset(&s->next_experiment);
    return got;
}

static int next_file(struct backup_source *s, struct tar_member *m, struct err *e)
{
    for (;;) {
        const int got = next_in_folder(s, m, e);
        if (got != 0) return got;
        forget_names(s);
        if (s->id == 0 || s->folder >= s->attempts) {
            const int more = next_experiment(s, e);
            if (more <= 0) return more;
        }
        s->folder++; /* attempts that began after the copy was made stay out */
        if (read_names(s, e) != 0) return -1;
    }
}

static int open_database(struct backup_source *s, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/spiked.db", s->copies_dir);
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return err_db(e, s->db, path);
    return stmt_prepare(&s->next_experiment, s->db,
                        "SELECT id,uid,attempt FROM experiment WHERE id>?1 ORDER BY id LIMIT 1", e);
}

/* ---- digests and manifest -------------------------------------------------------------------- */
static int keep_digest(struct tar_stream *t, const struct tar_member *m,
                       const uint8_t digest[DIGEST_BYTES], struct err *e)
{
    struct backup_source *s = container_of(t, struct backup_source, tar);
    char hex[DIGEST_HEX_MAX];
    digest_hex(digest, hex);
    if (s->part == PART_MANIFEST) { /* the digests are through */
        (void)snprintf(s->digests_sha, sizeof s->digests_sha, "%s", hex);
        return 0;
    }
    if (s->part == PART_END) return 0;
    s->members++;
    return fprintf(s->digests, "%s  %s\n", hex, m->name) > 0
               ? 0
               : err_errno(e, errno, "list of digests");
}

static int open_digests(struct backup_source *s, struct tar_member *m, struct err *e)
{
    if (fflush(s->digests) != 0) return err_errno(e, errno, "list of digests");
    return open_copy(s, m, "digests", e);
}

static int64_t schema_of(sqlite3 *db)
{
    struct stmt q;
    struct err e = { 0 };
    if (stmt_prepare(&q, db, "PRAGMA user_version", &e) != 0) return 0;
    const int64_t version = stmt_step(&q, &e) == 1 ? stmt_int(&q, 0) : 0;
    stmt_finish(&q);
    return version;
}

static int64_t metrics_schema(const struct backup_source *s)
{
    char path[PATH_MAX];
    sqlite3 *db = NULL;
    (void)snprintf(path, sizeof path, "%s/metrics.db", s->copies_dir);
    const int64_t version = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK
                                ? schema_of(db)
                                : 0;
    (void)sqlite3_close(db);
    return version;
}

static int64_t epoch_of(const struct backup_source *s)
{
    char path[PATH_MAX];
    int64_t epoch = 0;
    (void)snprintf(path, sizeof path, "%s/epoch", s->state_dir);
    FILE *f = fopen(path, "re");
    if (f != NULL && fscanf(f, "%" SCNd64, &epoch) != 1) epoch = 0;
    if (f != NULL) (void)fclose(f);
    return epoch;
}

static int make_manifest(struct backup_source *s, struct tar_member *m, struct err *e)
{
    cJSON *o = cJSON_CreateObject();
    const bool ok = o != NULL && json_add_int(o, "format", BACKUP_FORMAT) &&
                    cJSON_AddStringToObject(o, "version", SPIKED_VERSION) != NULL &&
                    cJSON_AddStringToObject(o, "build", SPIKED_BUILD) != NULL &&
                    json_add_time(o, "made_at", clock_wall_ms()) &&
                    json_add_int(o, "made_ms", clock_wall_ms()) &&
                    json_add_int(o, "schema", schema_of(s->db)) &&
                    json_add_int(o, "metrics_schema", metrics_schema(s)) &&
                    json_add_int(o, "epoch", epoch_of(s)) &&
                    cJSON_AddBoolToObject(o, "files", s->files_dir != NULL) != NULL &&
                    json_add_int(o, "members", s->members) &&
                    cJSON_AddStringToObject(o, "digests_sha256", s->digests_sha) != NULL;
    s->manifest = ok ? json_print(o, NULL) : NULL;
    cJSON_Delete(o);
    if (s->manifest == NULL) return err_set(e, ERR_NOMEM, "manifest");
    (void)snprintf(m->name, sizeof m->name, "manifest.json");
    m->text = s->manifest;
    m->bytes = strlen(s->manifest);
    m->mtime_s = clock_wall_ms() / 1000;
    return 0;
}

/* ---- the archive ----------------------------------------------------------------------------- */
static int begin(struct backup_source *s, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/digests", s->copies_dir);
    s->digests = fopen(path, "we");
    return s->digests != NULL ? open_database(s, e) : err_errno(e, errno, "%.150s", path);
}

static int next_member(struct tar_stream *t, struct tar_member *m, bool *more, struct err *e)
{
    struct backup_source *s = container_of(t, struct backup_source, tar);
    *more = true;
    if (s->part == PART_FILES) {
        const int got = s->files_dir != NULL ? next_file(s, m, e) : 0;
        if (got != 0) return got < 0 ? (int)e->code : 0;
        s->part = PART_DIGESTS;
    }
    switch (s->part++) {
    case PART_METRICS: {
        const int rc = begin(s, e);
        return rc != 0 ? rc : open_copy(s, m, "metrics.db", e);
    }
    case PART_MAIN: return open_copy(s, m, "spiked.db", e);
    case PART_DIGESTS: return open_digests(s, m, e);
    case PART_MANIFEST: return make_manifest(s, m, e);
    default: *more = false; return 0;
    }
}

int backup_source_new(struct backup_source **out, const struct backup_parts *p, struct err *e)
{
    struct backup_source *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return err_set(e, ERR_NOMEM, "backup");
    tar_stream_init(&s->tar);
    s->tar.next = next_member;
    s->tar.ended = keep_digest;
    s->copies_dir = mem_strdup(p->copies_dir);
    s->state_dir = mem_strdup(p->state_dir);
    if (p->files_dir != NULL) s->files_dir = mem_strdup(p->files_dir);
    if (s->copies_dir != NULL && s->state_dir != NULL && (s->files_dir != NULL || !p->files_dir)) {
        *out = s;
        return 0;
    }
    backup_source_free(s);
    return err_set(e, ERR_NOMEM, "backup");
}

int backup_source_read(struct backup_source *s, unsigned char *out, size_t room, size_t *got,
                       struct err *e)
{
    return tar_stream_read(&s->tar, out, room, got, e);
}

void backup_source_free(struct backup_source *s)
{
    if (s == NULL) return;
    forget_names(s);
    tar_stream_deinit(&s->tar);
    stmt_finish(&s->next_experiment);
    (void)sqlite3_close(s->db);
    if (s->digests != NULL) (void)fclose(s->digests);
    mem_free(s->copies_dir);
    mem_free(s->state_dir);
    mem_free(s->files_dir);
    mem_free(s->manifest);
    mem_free(s);
}
