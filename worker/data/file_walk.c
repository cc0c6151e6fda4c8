/* file_walk: see file_walk.h. Archives are read with libarchive, front to back. */
#include "worker/data/file_walk.h"

#include "common/mem.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define ARCHIVE_BLOCK (1u << 16)

struct file_walk_entry {
    const char *path;        /* of a plain file; NULL: in an archive */
    struct archive *archive;
};
struct walk {
    const char *folder;
    file_walk_fn *each;
    void *ctx;
};

void file_bytes_deinit(struct file_bytes *b)
{
    mem_free(b->at);
    *b = (struct file_bytes){ 0 };
}

/* Room for `more` bytes behind the ones that are there. */
static int reserve(struct file_bytes *b, size_t more, struct err *e)
{
    if (more > FILE_WALK_BYTES_MAX - b->count)
        return err_set(e, ERR_DATA, "longer than %zu bytes", FILE_WALK_BYTES_MAX);
    if (b->count + more <= b->capacity) return 0;
    size_t capacity = b->capacity > 0 ? b->capacity : ARCHIVE_BLOCK;
    while (capacity < b->count + more) capacity *= 2;
    uint8_t *grown = mem_realloc_array(b->at, capacity, 1);
    if (grown == NULL) return err_set(e, ERR_NOMEM, "%zu bytes", capacity);
    b->at = grown;
    b->capacity = capacity;
    return 0;
}

/* zlib hands out the bytes of a file that is not compressed as they are. */
static int read_plain(const char *path, struct file_bytes *out, struct err *e)
{
    gzFile f = gzopen(path, "rbe");
    if (f == NULL) return err_errno(e, errno, "open");
    int rc = 0, got = 1;
    for (; rc == 0 && got > 0; out->count += (size_t)(got > 0 ? got : 0)) {
        rc = reserve(out, ARCHIVE_BLOCK, e);
        got = rc == 0 ? gzread(f, out->at + out->count, ARCHIVE_BLOCK) : 0;
    }
    int code = 0;
    const char *why = gzerror(f, &code);
    if (rc == 0 && code != Z_OK && code != Z_STREAM_END)
        rc = err_set(e, ERR_DATA, "byte %zu: %s", out->count, why);
    if (gzclose(f) != Z_OK && rc == 0) rc = err_set(e, ERR_DATA, "byte %zu: cut off", out->count);
    return rc;
}

int file_walk_read(struct file_walk_entry *entry, struct file_bytes *out, struct err *e)
{
    out->count = 0;
    if (entry->path != NULL) return read_plain(entry->path, out, e);
    for (la_ssize_t got = 1; got > 0; out->count += (size_t)got) {
        if (reserve(out, ARCHIVE_BLOCK, e) != 0) return (int)e->code;
        got = archive_read_data(entry->archive, out->at + out->count, ARCHIVE_BLOCK);
        if (got < 0)
            return err_set(e, ERR_DATA, "byte %zu: %s", out->count,
                           archive_error_string(entry->archive));
    }
    return 0;
}

static bool ends(const char *name, const char *ending)
{
    const size_t n = strlen(name), k = strlen(ending);
    return n > k && strcmp(name + n - k, ending) == 0;
}

static bool is_archive(const char *name)
{
    static const char *const endings[] = { ".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".txz",
                                           ".tar.zst", ".tar.bz2" };
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (ends(name, endings[i])) return true;
    return false;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static int walk_archive(const struct walk *w, const char *name, struct err *e)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", w->folder, name) >= (int)sizeof path)
        return err_set(e, ERR_DATA, "%.150s: the name is too long", name);
    struct archive *a = archive_read_new();
    if (a == NULL) return err_set(e, ERR_NOMEM, "%.150s", name);
    (void)archive_read_support_filter_all(a);
    (void)archive_read_support_format_tar(a);
    (void)archive_read_support_format_zip(a);
    int rc = 0, got = archive_read_open_filename(a, path, ARCHIVE_BLOCK);
    while (rc == 0 && got == ARCHIVE_OK) {
        struct archive_entry *file;
        got = archive_read_next_header(a, &file);
        if (got == ARCHIVE_WARN) got = ARCHIVE_OK; /* a name in another character set */
        if (got != ARCHIVE_OK) break;
        const char *inside = archive_entry_pathname(file);
        if (inside == NULL || archive_entry_filetype(file) != AE_IFREG ||
            last_part(inside)[0] == '.')
            continue;
        struct file_walk_entry entry = { NULL, a };
        rc = w->each(w->ctx, inside, &entry, e);
        if (rc != 0) (void)err_wrap(e, "%.60s", name);
    }
    if (rc == 0 && got != ARCHIVE_EOF)
        rc = err_set(e, ERR_DATA, "%.150s: %.80s", path, archive_error_string(a));
    (void)archive_read_free(a);
    return rc;
}

static int walk_folder(const struct walk *w, const char *below, int depth, struct err *e);

/* One name of a folder: a file, a folder to go down into, or nothing of ours. */
static int walk_name(const struct walk *w, const char *below, const char *name, int depth,
                     struct err *e)
{
    char path[PATH_MAX], inside[PATH_MAX];
    struct stat st;
    if (snprintf(inside, sizeof inside, "%s%s%s", below, below[0] == '\0' ? "" : "/", name) >=
            (int)sizeof inside ||
        snprintf(path, sizeof path, "%s/%s", w->folder, inside) >= (int)sizeof path)
        return err_set(e, ERR_DATA, "%.150s: the name is too long", name);
    if (stat(path, &st) != 0) return err_errno(e, errno, "%.180s", path);
    if (S_ISDIR(st.st_mode)) return walk_folder(w, inside, depth + 1, e);
    if (!S_ISREG(st.st_mode)) return 0;
    struct file_walk_entry entry = { path, NULL };
    return w->each(w->ctx, inside, &entry, e);
}

static int walk_folder(const struct walk *w, const char *below, int depth, struct err *e)
{
    char path[PATH_MAX];
    if (depth > FILE_WALK_DEPTH_MAX)
        return err_set(e, ERR_DATA, "%.180s: more than %d folders deep", below,
                       FILE_WALK_DEPTH_MAX);
    if (snprintf(path, sizeof path, "%s/%s", w->folder, below) >= (int)sizeof path)
        return err_set(e, ERR_DATA, "%.150s: the name is too long", below);
    DIR *dir = opendir(path);
    if (dir == NULL) return err_errno(e, errno, "%.180s", path);
    int rc = 0;
    for (struct dirent *d; rc == 0 && (d = readdir(dir)) != NULL;)
        if (d->d_name[0] != '.') rc = walk_name(w, below, d->d_name, depth, e);
    (void)closedir(dir);
    return rc;
}

/* Whether the folder itself holds a folder. */
static int has_folders(const char *folder, bool *out, struct err *e)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) return err_errno(e, errno, "%.180s", folder);
    *out = false;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        if (d->d_name[0] != '.' && fstatat(dirfd(dir), d->d_name, &st, 0) == 0 &&
            S_ISDIR(st.st_mode))
            *out = true;
    }
    (void)closedir(dir);
    return 0;
}

int file_walk(const char *folder, file_walk_fn *each, void *ctx, struct err *e)
{
    const struct walk w = { folder, each, ctx };
    bool unpacked = false;
    if (has_folders(folder, &unpacked, e) != 0) return (int)e->code;
    if (unpacked) return walk_folder(&w, "", 0, e);
    DIR *dir = opendir(folder);
    if (dir == NULL) return err_errno(e, errno, "%.180s", folder);
    int rc = 0;
    for (struct dirent *d; rc == 0 && (d = readdir(dir)) != NULL;) {
        if (d->d_name[0] == '.') continue;
        rc = is_archive(d->d_name) ? walk_archive(&w, d->d_name, e)
                                   : walk_name(&w, "", d->d_name, 0, e);
    }
    (void)closedir(dir);
    return rc;
}
