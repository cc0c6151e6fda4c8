/* event_files: published event data. Opened on the main thread, read on any.
 *
 * The folder's files, unpacked or in archives, are walked twice: once for their names, or for files
 * of labels, which give part, class and number of the samples, and once for the bytes of the
 * recordings that are wanted. Samples are ordered by part, number and class, so that neither the
 * file system nor an archive decides anything. Events become frames when they are read; recordings
 * are not kept. event_places.c knows how each data set names its files. */
#include "worker/data/dataset.h"

#include "common/mem.h"
#include "worker/data/event_bytes.h"
#include "worker/data/event_places.h"
#include "worker/data/file_walk.h"
#include "worker/data/frame_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX ((size_t)1 << 20)

/* One sample. */
struct file {
    char *path; /* of the recording */
    struct event_place place;
    int64_t begin, end; /* its time in the recording */
    size_t sample;      /* in the part; SIZE_MAX: not wanted */
    bool read;
    uint8_t digest[DIGEST_BYTES];
};
struct event_dataset {
    struct dataset base;
    struct frame_store frames[DATASET_PARTS];
    uint8_t *labels[DATASET_PARTS];
    uint32_t *lengths[DATASET_PARTS]; /* NULL: not asked for */
};
/* While it is opened. */
struct loading {
    struct event_dataset *d;
    const struct event_places *places;
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

bool event_files_know(const char *name) { return event_places_find(name) != NULL; }

/* ---- first walk: names ----------------------------------------------------------------------- */
static int add_sample(struct loading *l, const char *path, const struct event_place *place,
                      int64_t begin, int64_t end, struct err *e)
{
    if (l->n == FILES_MAX) return err_set(e, ERR_DATA, "more than %zu samples", FILES_MAX);
    if (l->n == l->capacity) {
        const size_t capacity = l->capacity > 0 ? 2 * l->capacity : 1024;
        struct file *more = mem_realloc_array(l->files, capacity, sizeof more[0]);
        if (more == NULL) return err_set(e, ERR_NOMEM, "%zu file names", capacity);
        l->files = more;
        l->capacity = capacity;
    }
    l->files[l->n] = (struct file){ .path = mem_strdup(path), .place = *place, .begin = begin,
                                    .end = end, .sample = SIZE_MAX };
    if (l->files[l->n].path == NULL) return err_set(e, ERR_NOMEM, "file name");
    l->n++;
    return 0;
}

/* A file of labels: a sample a row, all in the recording that is called like the file. */
static int add_segments(struct loading *l, const char *path, struct event_place place,
                        struct file_walk_entry *entry, struct err *e)
{
    struct event_segment segments[EVENT_SEGMENTS_MAX];
    size_t n = 0;
    int rc = file_walk_read(entry, &l->bytes, e);
    if (rc == 0)
        rc = event_parse_segments(l->bytes.at, l->bytes.count, (uint32_t)l->d->base.classes,
                                  segments, &n, e);
    if (rc != 0) return err_wrap(e, "%.150s", path);
    char *recording = mem_printf("%.*s%s", (int)(strlen(path) - strlen(l->places->labels)), path,
                                 l->places->recording);
    if (recording == NULL) return err_set(e, ERR_NOMEM, "file name");
    place.number *= EVENT_SEGMENTS_MAX;
    for (size_t i = 0; rc == 0 && i < n; i++, place.number++) {
        place.class = segments[i].class;
        rc = add_sample(l, recording, &place, segments[i].begin, segments[i].end, e);
    }
    mem_free(recording);
    return rc;
}

static int note_file(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e)
{
    struct loading *l = ctx;
    struct event_place place = { 0 };
    const int found = l->places->find(path, &place, e);
    if (found != 1) return found;
    if (l->places->labels != NULL) return add_segments(l, path, place, entry, e);
    return add_sample(l, path, &place, INT64_MIN, INT64_MAX, e);
}

static int compare_place(const struct event_place *a, const struct event_place *b)
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
/* The events of one sample become its frames. They are ordered by time. */
static int take_sample(struct loading *l, struct file *f, struct err *e)
{
    const struct dataset *d = &l->d->base;
    const struct event *events = l->events.at;
    const enum dataset_part part = f->place.part;
    size_t begin = 0, end = l->events.count;
    while (begin < end && events[begin].t < f->begin) begin++;
    while (end > begin && events[end - 1].t >= f->end) end--;
    if (begin == end) return err_set(e, ERR_DATA, "no event of %lld to %lld us",
                                     (long long)f->begin, (long long)f->end);
    int rc = event_frames_fill(&l->request->spec->frames, events + begin, end - begin, d->t, d->h,
                               d->w, l->ranges, l->counts, l->values, e);
    if (rc == 0) rc = frame_store_put(&l->d->frames[part], f->sample, l->values, e);
    if (rc != 0) return rc;
    l->d->labels[part][f->sample] = (uint8_t)f->place.class;
    if (l->d->lengths[part] != NULL)
        l->d->lengths[part][f->sample] = (uint32_t)event_split_length(
            &l->request->spec->frames, events + begin, end - begin, d->t);
    f->read = true;
    return 0;
}

/* First sample of a recording in by_path. */
static size_t first_of(const struct loading *l, const char *path)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(l->by_path[middle]->path, path) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static int load_file(void *ctx, const char *path, struct file_walk_entry *entry, struct err *e)
{
    struct loading *l = ctx;
    const struct event_sensor sensor = { l->d->base.h, l->d->base.w };
    uint8_t digest[DIGEST_BYTES];
    bool parsed = false;
    for (size_t i = first_of(l, path); i < l->n && strcmp(l->by_path[i]->path, path) == 0; i++) {
        struct file *f = l->by_path[i];
        if (f->sample == SIZE_MAX) continue;
        int rc = parsed ? 0 : file_walk_read(entry, &l->bytes, e);
        if (rc == 0 && !parsed)
            rc = l->places->parse(l->bytes.at, l->bytes.count, sensor, &l->events, e);
        if (rc == 0 && !parsed) digest_bytes(l->bytes.at, l->bytes.count, digest);
        parsed = true;
        if (rc == 0) rc = take_sample(l, f, e);
        if (rc != 0) return err_wrap(e, "%.150s", path);
        memcpy(f->digest, digest, sizeof digest);
    }
    return 0;
}

/* Of the samples in their order: part, class, time and the bytes of the recording. */
static int digest_all(struct loading *l, struct err *e)
{
    enum { PLACE = 2 + sizeof(int64_t) * 2 };
    uint8_t *all = mem_calloc(l->n, DIGEST_BYTES + PLACE);
    size_t used = 0;
    if (all == NULL) return err_set(e, ERR_NOMEM, "digests");
    for (size_t i = 0; i < l->n; i++) {
        const struct file *f = &l->files[i];
        if (f->sample == SIZE_MAX) continue;
        all[used++] = (uint8_t)f->place.part;
        all[used++] = (uint8_t)f->place.class;
        memcpy(all + used, &f->begin, sizeof f->begin);
        memcpy(all + used + sizeof f->begin, &f->end, sizeof f->end);
        used += 2 * sizeof f->begin;
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
        if (rc != 0 || !l->request->spec->frames.own_lengths) continue;
        l->d->lengths[part] = mem_calloc(d->count[part], sizeof l->d->lengths[0][0]);
        if (l->d->lengths[part] == NULL) rc = err_set(e, ERR_NOMEM, "lengths");
        d->own_lengths = true;
    }
    l->ranges = mem_calloc(d->t, sizeof l->ranges[0]);
    l->counts = mem_calloc(cells, sizeof l->counts[0]);
    l->values = mem_calloc(d->t * cells, sizeof l->values[0]);
    if (rc == 0 && (l->ranges == NULL || l->counts == NULL || l->values == NULL))
        rc = err_set(e, ERR_NOMEM, "frames");
    if (rc == 0) rc = file_walk(folder, load_file, l, e);
    for (size_t i = 0; rc == 0 && i < l->n; i++)
        if (l->files[i].sample != SIZE_MAX && !l->files[i].read)
            rc = err_set(e, ERR_DATA, "%.150s: there is no such recording", l->files[i].path);
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

static uint32_t event_length(const struct dataset *d, enum dataset_part part, size_t i)
{
    return ((const struct event_dataset *)d)->lengths[part][i];
}

static void event_close(struct dataset *d)
{
    struct event_dataset *s = (struct event_dataset *)d;
    for (int part = 0; part < DATASET_PARTS; part++) {
        frame_store_deinit(&s->frames[part]);
        mem_free(s->labels[part]);
        mem_free(s->lengths[part]);
    }
    mem_free(s);
}

static const struct dataset_ops event_ops = { event_read, event_label, event_close, event_length };

int event_files_open(struct dataset **out, const char *folder, const struct dataset_request *r,
                     struct err *e)
{
    const struct spec_dataset_info *info = spec_dataset_find(r->spec->name);
    struct event_dataset *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return err_set(e, ERR_NOMEM, "dataset");
    d->base = (struct dataset){ .ops = &event_ops, .kind = SPEC_DATA_EVENTS, .t = r->time_steps,
                                .c = (size_t)info->shape.c, .h = (size_t)info->shape.h,
                                .w = (size_t)info->shape.w, .classes = (size_t)info->classes };
    struct loading l = { .d = d, .places = event_places_find(r->spec->name), .request = r };
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
