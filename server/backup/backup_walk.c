/* backup_walk: see backup_walk.h. */
#include "server/backup/backup_walk.h"

#include "common/json.h"
#include "common/mem.h"
#include "common/uid.h"
#include "server/backup/backup_source.h"
#include "server/backup/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_BYTES ((size_t)256 * 1024)
#define MANIFEST_MAX 65536
#define DIGEST_LINE_MAX (DIGEST_HEX_MAX + TAR_NAME_MAX + 8)

struct walk {
    const struct backup_input *in;
    const char *folder;
    FILE *mine, *said; /* lines of digests: what was read, what the backup says */
    int64_t members;
    char digests_sha[DIGEST_HEX_MAX]; /* of the member `digests` */
    char manifest[MANIFEST_MAX];
    size_t manifest_length;
    unsigned char *part;
};

static int read_whole(struct walk *w, unsigned char *out, size_t n, struct err *e)
{
    for (size_t at = 0; at < n;) {
        const ssize_t got = w->in->read(w->in->ctx, out + at, n - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_errno(e, errno, "reading the backup");
        if (got == 0) return err_set(e, ERR_DATA, "the backup is cut off");
        at += (size_t)got;
    }
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */
static bool plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

/* files/UID/NAME or files/UID/attempt-N/NAME: nothing else may be written anywhere. */
static bool file_name(const char *name)
{
    char uid[UID_TEXT_MAX];
    if (strncmp(name, "files/", 6) != 0) return false;
    const char *rest = strchr(name + 6, '/');
    if (rest == NULL || rest - (name + 6) != UID_TEXT_MAX - 1) return false;
    (void)snprintf(uid, sizeof uid, "%.36s", name + 6);
    if (!uid_valid(uid)) return false;
    rest++;
    if (strncmp(rest, "attempt-", 8) == 0) {
        const size_t digits = strspn(rest + 8, "0123456789");
        if (digits > 0 && digits < 19 && rest[8 + digits] == '/') rest += 8 + digits + 1;
    }
    return plain_name(rest);
}

static bool known_name(const struct walk *w, const char *name)
{
    if (w->members == 0) return strcmp(name, "metrics.db") == 0;
    if (w->members == 1) return strcmp(name, "spiked.db") == 0;
    return file_name(name);
}

/* ---- members --------------------------------------------------------------------------------- */
static int make_file(const struct walk *w, const char *name, int *fd, struct err *e)
{
    char path[PATH_MAX];
    *fd = -1;
    if (w->folder == NULL) return 0;
    const int n = snprintf(path, sizeof path, "%s/%s", w->folder, name);
    if (n >= (int)sizeof path) return err_set(e, ERR_INVALID, "path %.150s is too long", path);
    for (char *slash = strchr(path + strlen(w->folder) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) return err_errno(e, errno, "%.150s", path);
        *slash = '/';
    }
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *fd >= 0 ? 0 : err_errno(e, errno, "%.150s", path);
}

static int write_whole(int fd, const unsigned char *data, size_t n, struct err *e)
{
    for (size_t at = 0; fd >= 0 && at < n;) {
        const ssize_t done = write(fd, data + at, n - at);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return err_errno(e, errno, "writing what the backup holds");
        at += (size_t)done;
    }
    return 0;
}

/* At most a block: what no digest covers. */
static int read_zeros(struct walk *w, size_t n, struct err *e)
{
    if (read_whole(w, w->part, n, e) != 0) return (int)e->code;
    for (size_t i = 0; i < n; i++)
        if (w->part[i] != 0) return err_set(e, ERR_DATA, "the archive is damaged");
    return 0;
}

/* Passes a member on, with its padding; hex: its digest. */
static int take_member(struct walk *w, const struct tar_entry *m, int fd, FILE *text,
                       char hex[DIGEST_HEX_MAX], struct err *e)
{
    crypto_hash_sha256_state sum;
    uint8_t digest[DIGEST_BYTES];
    int rc = 0;
    (void)crypto_hash_sha256_init(&sum);
    for (uint64_t left = m->bytes; rc == 0 && left > 0;) {
        const size_t n = left < PART_BYTES ? (size_t)left : PART_BYTES;
        rc = read_whole(w, w->part, n, e);
        if (rc == 0) rc = write_whole(fd, w->part, n, e);
        if (rc == 0 && text != NULL && fwrite(w->part, 1, n, text) != n)
            rc = err_errno(e, errno, "list of digests");
        (void)crypto_hash_sha256_update(&sum, w->part, n);
        left -= n;
    }
    (void)crypto_hash_sha256_final(&sum, digest);
    digest_hex(digest, hex);
    return rc == 0 ? read_zeros(w, tar_padding(m->bytes), e) : rc;
}

static int take_data(struct walk *w, const struct tar_entry *m, struct err *e)
{
    char hex[DIGEST_HEX_MAX];
    int fd = -1, rc = make_file(w, m->name, &fd, e);
    if (rc == 0) rc = take_member(w, m, fd, NULL, hex, e);
    if (rc == 0 && fd >= 0 && fsync(fd) != 0) rc = err_errno(e, errno, "%.150s", m->name);
    if (fd >= 0 && close(fd) != 0 && rc == 0) rc = err_errno(e, errno, "%.150s", m->name);
    if (rc == 0 && fprintf(w->mine, "%s  %s\n", hex, m->name) < 0)
        rc = err_errno(e, errno, "list of digests");
    w->members++;
    if (rc == 0 && w->in->progress != NULL) w->in->progress(w->in->ctx, m->name, m->bytes);
    return rc;
}

/* Line by line, so that it can be said what is damaged. */
static int compare_digests(struct walk *w, struct err *e)
{
    char mine[DIGEST_LINE_MAX], said[DIGEST_LINE_MAX];
    rewind(w->mine);
    rewind(w->said);
    for (;;) {
        const bool more = fgets(mine, sizeof mine, w->mine) != NULL;
        const bool also = fgets(said, sizeof said, w->said) != NULL;
        if (!more && !also) return 0;
        if (more && also && strcmp(mine, said) == 0) continue;
        if (!more) return err_set(e, ERR_DATA, "a file of the backup is missing");
        mine[strcspn(mine, "\n")] = '\0';
        return err_set(e, ERR_DATA, "%.150s is damaged", mine + DIGEST_HEX_MAX + 1);
    }
}

static int take_manifest(struct walk *w, const struct tar_entry *m, struct err *e)
{
    char hex[DIGEST_HEX_MAX];
    FILE *text = m->bytes < MANIFEST_MAX ? fmemopen(w->manifest, MANIFEST_MAX, "w") : NULL;
    if (text == NULL) return err_set(e, ERR_DATA, "the manifest is too large");
    const int rc = take_member(w, m, -1, text, hex, e);
    (void)fclose(text);
    w->manifest_length = (size_t)m->bytes;
    return rc;
}

/* ---- the manifest ---------------------------------------------------------------------------- */
static int read_manifest(struct walk *w, struct backup_manifest *out, struct err *e)
{
    cJSON *o = NULL;
    int rc = json_parse(w->manifest, w->manifest_length, &o, e);
    if (rc != 0) {
        e->code = ERR_DATA;
        return err_wrap(e, "the manifest");
    }
    *out = (struct backup_manifest){ .format = json_get_int(o, "format", 0),
                                     .made_ms = json_get_int(o, "made_ms", 0),
                                     .schema = json_get_int(o, "schema", 0),
                                     .metrics_schema = json_get_int(o, "metrics_schema", 0),
                                     .epoch = json_get_int(o, "epoch", 0),
                                     .members = json_get_int(o, "members", -1),
                                     .files = json_get_bool(o, "files", false) };
    (void)snprintf(out->version, sizeof out->version, "%s", json_get_string(o, "version", "?"));
    const bool right = strcmp(json_get_string(o, "digests_sha256", ""), w->digests_sha) == 0 &&
                       out->members == w->members;
    cJSON_Delete(o);
    if (out->format > BACKUP_FORMAT)
        return err_set(e, ERR_CONFLICT,
                       "the backup was made by spiked %s, which is newer: use that", out->version);
    return right && out->format > 0 ? 0 : err_set(e, ERR_DATA, "the list of digests is damaged");
}

static int next_entry(struct walk *w, struct tar_entry *m, struct err *e)
{
    if (read_whole(w, w->part, TAR_BLOCK, e) != 0) return -1;
    return tar_parse(w->part, m, e);
}

/* What comes after the data: exactly `digests`, `manifest.json` and the end. */
static int take_tail(struct walk *w, const struct tar_entry *digests, struct err *e)
{
    struct tar_entry m;
    int rc = take_member(w, digests, -1, w->said, w->digests_sha, e);
    if (rc == 0) rc = compare_digests(w, e);
    const int got = rc == 0 ? next_entry(w, &m, e) : -1;
    if (got == 1 && strcmp(m.name, "manifest.json") == 0) rc = take_manifest(w, &m, e);
    else if (e->code == ERR_OK) rc = err_set(e, ERR_DATA, "the backup has no manifest");
    if (rc != 0 || e->code != ERR_OK) return (int)e->code;
    for (int i = 0; i < TAR_END_BLOCKS && e->code == ERR_OK; i++) (void)read_zeros(w, TAR_BLOCK, e);
    if (e->code == ERR_OK && w->in->read(w->in->ctx, w->part, 1) != 0)
        (void)err_set(e, ERR_DATA, "the backup goes on behind its end");
    return (int)e->code;
}

static int take_all(struct walk *w, struct err *e)
{
    struct tar_entry m;
    int got;
    while ((got = next_entry(w, &m, e)) == 1) {
        if (w->members >= 2 && strcmp(m.name, "digests") == 0) return take_tail(w, &m, e);
        if (!known_name(w, m.name))
            return err_set(e, ERR_DATA, "'%.150s' is no file of a backup", m.name);
        if (take_data(w, &m, e) != 0) return (int)e->code;
    }
    return got < 0 ? (int)e->code : err_set(e, ERR_DATA, "the backup has no manifest");
}

int backup_walk(const struct backup_input *in, const char *folder, struct backup_manifest *out,
                struct err *e)
{
    struct walk *w = mem_calloc(1, sizeof *w);
    if (w == NULL) return err_set(e, ERR_NOMEM, "backup");
    w->in = in;
    w->folder = folder;
    w->part = mem_alloc(PART_BYTES);
    w->mine = tmpfile();
    w->said = tmpfile();
    int rc = w->part == NULL ? err_set(e, ERR_NOMEM, "backup") : 0;
    if (rc == 0 && (w->mine == NULL || w->said == NULL)) rc = err_errno(e, errno, "temporary file");
    if (rc == 0) rc = take_all(w, e);
    if (rc == 0) rc = read_manifest(w, out, e);
    if (w->mine != NULL) (void)fclose(w->mine);
    if (w->said != NULL) (void)fclose(w->said);
    mem_free(w->part);
    mem_free(w);
    return rc;
}
