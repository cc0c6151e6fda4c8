/* event_files: published event data with one file a sample. Opened on the main thread, read on any.
 *
 * The folder's files, unpacked or in archives, are walked twice: once for their names, which give
 * part, class and number, and once for the bytes of those that are wanted. Samples are ordered by
 * part, number and class, so that neither the file system nor an archive decides anything. Events
 * become frames when they are read; recordings are not kept. */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "worker/data/event_bytes.h"
#include "worker/data/file_walk.h"
#include "worker/data/frame_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX ((size_t)1 << 20)
#define DIGITS_MAX 9

/* What a path says about the sample in it. */
struct place {
    enum dataset_part part;
    uint32_t class, number;
};
/* 1: a sample; 0: no file of ours; else an error code. */
typedef int place_fn(const char *path, struct place *out, struct err *e);

struct format {
    const char *name; /* of the data set */
    event_parse_fn *parse;
    place_fn *place;
};
struct file {
    char *path;
    struct place place;
    size_t sample; /* in the part; SIZE_MAX: not wanted */
    bool read;
    uint8_t digest[DIGEST_BYTES];
};
struct event_dataset {
    struct dataset base;
    struct frame_store frames[DATASET_PARTS];
    uint8_t *labels[DATASET_PARTS];
};
/* While it is opened. */
struct loading {
    struct event_dataset *d;
    const struct format *format;
    const struct dataset_request *request;
    struct file *files; /* by part, number and class after list_files */
    struct file **by_path;
    size_t n, capacity;
    struct file_bytes bytes;
    struct event_list events;
    struct event_range *ranges;
    uint32_t *counts;
    float *values;
};

/* ---- names ----------------------------------------------------------------------------------- */
/* The last three parts of a path; false when there are fewer. */
static bool last_three(const char *path, const char *part[3], size_t length[3])
{
    const char *end = path + strlen(path);
    for (int k = 2; k >= 0; k--) {
        const char *begin = end;
        while (begin > path && begin[-1] != '/') begin--;
        part[k] = begin;
        length[k] = (size_t)(end - begin);
        if (k > 0 && begin == path) return false;
        end = begin - 1;
    }
    return true;
}

static bool is(const char *part, size_t length, const char *word)
{
    return strlen(word) == length && memcmp(part, word, length) == 0;
}

/* Digits up to the end of a name or its dot. */
static bool number_of(const char *digits, size_t length, uint32_t *out)
{
    if (length == 0 || length > DIGITS_MAX) return false;
    *out = 0;
    for (size_t i = 0; i < length; i++) {
        if (digits[i] < '0' || digits[i] > '9') return false;
        *out = *out * 10 + (uint32_t)(digits[i] - '0');
    }
    return true;
}

/* .../Train/3/00012.bin */
static int place_n_mnist(const char *path, struct place *out, struct err *e)
{
    const char *part[3];
    size_t length[3];
    if (!last_three(path, part, length)) return 0;
    const bool train = is(part[0], length[0], "Train"), test = is(part[0], length[0], "Test");
    if (!train && !test) return 0;
    out->part = train ? DATASET_TRAIN : DATASET_TEST;
    if (length[2] < 5 || !is(part[2] + length[2] - 4, 4, ".bin") ||
        !number_of(part[2], length[2] - 4, &out->number))
        return err_set(e, ERR_DATA, "%.150s: a recording is called NUMBER.bin", path);
    if (length[1] != 1 || !number_of(part[1], 1, &out->class))
        return err_set(e, ERR_DATA, "%.150s: its folder is no digit", path);
    return 1;
}

static const struct format formats[] = {
    { "n-mnist", event_parse_atis, place_n_mnist },
};

static const struct format *format_find(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    return NULL;
}

bool event_files_know(const char *name) { return format_find(name) != NULL; }

/* ---- first walk: names ----------------------------------------------------------------------- */
static int note_file(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e)
{
    struct loading *l = ctx;
    struct place place;
    (void)entry;
    const int found = l->format->place(path, &place, e);
    if (found != 1) return found;
    if (l->n == FILES_MAX) return err_set(e, ERR_DATA, "more than %zu files", FILES_MAX);
    if (l->n == l->capacity) {
        const size_t capacity = l->capacity > 0 ? 2 * l->capacity : 1024;
        struct file *more = mem_realloc_array(l->files, capacity, sizeof more[0]);
        if (more == NULL) return err_set(e, ERR_NOMEM, "%zu file names", capacity);
        l->files = more;
        l->capacity = capacity;
    }
    l->files[l->n] = (struct file){ .path = mem_strdup(path), .place = place, .sample = SIZE_MAX };
    if (l->files[l->n].path == NULL) return err_set(e, ERR_NOMEM, "file name");
    l->n++;
    return 0;
}

static int compare_place(const struct place *a, const struct place *b)
{
    if (a->part != b->part) return a->part < b->part ? -1 : 1;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return a->class < b->class ? -1 : a->class > b->class;
}

static int by_place(const void *a, const void *b)
{
    return compare_place(&((const struct file *)a)->place, &((const struct file *)b)->place);
}

static int by_path(const void *a, const void *b)
{
    return strcmp((*(struct file *const *)a)->path, (*(struct file *const *)b)->path);
}

/* Names in their order; the first of each part, as many as the limits say, get a sample. */
static int list_files(struct loading *l, const char *folder, struct err *e)
{
    const struct spec_dataset *spec = l->request->spec;
    const int64_t limit[DATASET_PARTS] = { spec->train_limit, spec->test_limit };
    size_t *count = l->d->base.count;
    if (file_walk(folder, note_file, l, e) != 0) return (int)e->code;
    l->by_path = mem_calloc(l->n + 1, sizeof l->by_path[0]);
    if (l->by_path == NULL) return err_set(e, ERR_NOMEM, "%zu file names", l->n);
    if (l->n > 0) qsort(l->files, l->n, sizeof l->files[0], by_place);
    for (size_t i = 0; i < l->n; i++) {
        struct file *f = &l->files[i];
        if (i > 0 && compare_place(&f[-1].place, &f->place) == 0)
            return err_set(e, ERR_DATA, "%.90s and %.90s are the same sample", f[-1].path, f->path);
        const enum dataset_part part = f->place.part;
        if (limit[part] == 0 || count[part] < (size_t)limit[part]) f->sample = count[part]++;
        l->by_path[i] = f;
    }
    if (l->n > 0) qsort(l->by_path, l->n, sizeof l->by_path[0], by_path);
    for (int part = 0; part < DATASET_PARTS; part++)
        if (count[part] == 0)
            return err_set(e, ERR_DATA, "there is no %s recording, unpacked or in an archive",
                           part == DATASET_TRAIN ? "training" : "test");
    return 0;
}

/* ---- second walk: bytes ---------------------------------------------------------------------- */
static int load_file(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e)
{
    struct loading *l = ctx;
    struct dataset *d = &l->d->base;
    const struct event_sensor sensor = { d->h, d->w };
    const struct file key = { .path = (char *)(uintptr_t)path }, *at = &key;
    struct file **found = bsearch(&at, l->by_path, l->n, sizeof l->by_path[0], by_path);
    if (found == NULL || (*found)->sample == SIZE_MAX) return 0;
    struct file *f = *found;
    const enum dataset_part part = f->place.part;
    int rc = file_walk_read(entry, &l->bytes, e);
    if (rc == 0) rc = l->format->parse(l->bytes.at, l->bytes.count, sensor, &l->events, e);
    if (rc == 0)
        rc = event_frames_fill(&l->request->spec->frames, l->events.at, l->events.count, d->t, d->h,
                               d->w, l->ranges, l->counts, l->values, e);
    if (rc == 0) rc = frame_store_put(&l->d->frames[part], f->sample, l->values, e);
    if (rc != 0) return err_wrap(e, "%.150s", path);
    digest_bytes(l->bytes.at, l->bytes.count, f->digest);
    l->d->labels[part][f->sample] = (uint8_t)f->place.class;
    f->read = true;
    return 0;
}

/* Of the samples in their order: class and bytes. */
static int digest_all(struct loading *l, struct err *e)
{
    uint8_t *all = mem_calloc(l->n, DIGEST_BYTES + 2);
    size_t used = 0;
    if (all == NULL) return err_set(e, ERR_NOMEM, "digests");
    for (size_t i = 0; i < l->n; i++) {
        const struct file *f = &l->files[i];
        if (f->sample == SIZE_MAX) continue;
        all[used++] = (uint8_t)f->place.part;
        all[used++] = (uint8_t)f->place.class;
        memcpy(all + used, f->digest, DIGEST_BYTES);
        used += DIGEST_BYTES;
    }
    digest_bytes(all, used, l->d->base.digest);
    mem_free(all);
    return 0;
}

static int load_files(struct loading *l, const char *folder, struct err *e)
{
    struct dataset *d = &l->d->base;
    const size_t cells = d->c * d->h * d->w;
    int rc = 0;
    for (int part = 0; rc == 0 && part < DATASET_PARTS; part++) {
        rc = frame_store_init(&l->d->frames[part], d->count[part], d->t * cells, e);
        l->d->labels[part] = mem_calloc(d->count[part], sizeof l->d->labels[0][0]);
        if (rc == 0 && l->d->labels[part] == NULL) rc = err_set(e, ERR_NOMEM, "labels");
    }
    l->ranges = mem_calloc(d->t, sizeof l->ranges[0]);
    l->counts = mem_calloc(cells, sizeof l->counts[0]);
    l->values = mem_calloc(d->t * cells, sizeof l->values[0]);
    if (rc == 0 && (l->ranges == NULL || l->counts == NULL || l->values == NULL))
        rc = err_set(e, ERR_NOMEM, "frames");
    if (rc == 0) rc = file_walk(folder, load_file, l, e);
    for (size_t i = 0; rc == 0 && i < l->n; i++)
        if (l->files[i].sample != SIZE_MAX && !l->files[i].read)
            rc = err_set(e, ERR_DATA, "%.150s: is gone", l->files[i].path);
    for (int part = 0; part < DATASET_PARTS; part++)
        d->bytes += frame_store_bytes(&l->d->frames[part]) + d->count[part];
    return rc == 0 ? digest_all(l, e) : rc;
}

static void loading_deinit(struct loading *l)
{
    for (size_t i = 0; i < l->n; i++) mem_free(l->files[i].path);
    mem_free(l->files);
    mem_free(l->by_path);
    file_bytes_deinit(&l->bytes);
    event_list_deinit(&l->events);
    mem_free(l->ranges);
    mem_free(l->counts);
    mem_free(l->values);
}

/* ---- the data set ---------------------------------------------------------------------------- */
static void event_read(const struct dataset *d, enum dataset_part part, size_t i, float *out)
{
    frame_store_get(&((const struct event_dataset *)d)->frames[part], i, out);
}

static uint32_t event_label(const struct dataset *d, enum dataset_part part, size_t i)
{
    return ((const struct event_dataset *)d)->labels[part][i];
}

static void event_close(struct dataset *d)
{
    struct event_dataset *s = (struct event_dataset *)d;
    for (int part = 0; part < DATASET_PARTS; part++) {
        frame_store_deinit(&s->frames[part]);
        mem_free(s->labels[part]);
    }
    mem_free(s);
}

static const struct dataset_ops event_ops = { event_read, event_label, event_close };

int event_files_open(struct dataset **out, const char *folder, const struct dataset_request *r,
                     struct err *e)
{
    const struct spec_dataset_info *info = spec_dataset_find(r->spec->name);
    struct event_dataset *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return err_set(e, ERR_NOMEM, "dataset");
    d->base = (struct dataset){ .ops = &event_ops, .kind = SPEC_DATA_EVENTS, .t = r->time_steps,
                                .c = (size_t)info->shape.c, .h = (size_t)info->shape.h,
                                .w = (size_t)info->shape.w, .classes = (size_t)info->classes };
    struct loading l = { .d = d, .format = format_find(r->spec->name), .request = r };
    int rc = list_files(&l, folder, e);
    if (rc == 0) rc = load_files(&l, folder, e);
    if (rc != 0) (void)err_wrap(e, "%.100s", folder);
    loading_deinit(&l);
    if (rc != 0) {
        event_close(&d->base);
        return rc;
    }
    *out = &d->base;
    return 0;
}
