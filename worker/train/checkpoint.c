/* checkpoint: see checkpoint.h. */
#include "worker/train/checkpoint.h"

#include "common/log.h"
#include "common/mem.h"
#include "worker/nets/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_STEP 64 /* the list of files grows by so many */
#define META_COUNT 9

/* ---- which files there are ------------------------------------------------------------------- */
static int newest_first(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Steps of the checkpoints in dir, newest first, in memory of the caller (mem_free). */
static int list_steps(const char *dir, uint64_t **steps, size_t *count, struct err *e)
{
    DIR *d = opendir(dir);
    size_t n = 0, capacity = 0;
    uint64_t *all = NULL;
    int rc = 0;
    for (struct dirent *f; d != NULL && rc == 0 && (f = readdir(d)) != NULL;) {
        int end = 0;
        uint64_t step;
        if (sscanf(f->d_name, "checkpoint-%" SCNu64 ".safetensors%n", &step, &end) != 1 ||
            end == 0 || f->d_name[end] != '\0')
            continue;
        if (n == capacity) {
            uint64_t *more = mem_realloc_array(all, capacity + FILES_STEP, sizeof all[0]);
            if (more == NULL) rc = err_set(e, ERR_NOMEM, "%.150s: list of checkpoints", dir);
            else capacity += FILES_STEP;
            if (more != NULL) all = more;
        }
        if (rc == 0) all[n++] = step;
    }
    if (d != NULL) (void)closedir(d);
    if (n > 0) qsort(all, n, sizeof all[0], newest_first);
    *steps = all;
    *count = n;
    return rc;
}

static void path_of(const char *dir, uint64_t step, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/checkpoint-%" PRIu64 ".safetensors", dir, step);
}

/* ---- writing --------------------------------------------------------------------------------- */
struct parts {
    struct safetensors_entry *entries;
    size_t count, capacity;
    float *values; /* weights and buffers, PyTorch order */
};

static void add_part(struct parts *p, const char *prefix, const char *name, const size_t *dims,
                     size_t n_dims, size_t elements, const float *data)
{
    struct safetensors_entry *t = &p->entries[p->count++];
    *t = (struct safetensors_entry){ .type = SAFETENSORS_F32, .n_dims = n_dims,
                                     .elements = elements, .data = data };
    (void)snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    memcpy(t->dims, dims, n_dims * sizeof dims[0]);
}

static void add_weights(struct parts *p, const struct net *n, const char *prefix,
                        const float *values)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *q = net_param(n, i);
        add_part(p, prefix, q->name, q->dims, q->n_dims, q->logical, values);
        values += q->logical;
    }
}

static int write_file(const char *path, const struct parts *p, const struct optimizer *o,
                      const struct checkpoint_state *s, struct err *e)
{
    char text[META_COUNT][80];
    (void)snprintf(text[0], 80, "%d", CHECKPOINT_FORMAT);
    (void)snprintf(text[1], 80, "%" PRIu64, s->step);
    (void)snprintf(text[2], 80, "%" PRIu64, s->epoch);
    (void)snprintf(text[3], 80, "%" PRIu64, s->cursor);
    (void)snprintf(text[4], 80, "%a %" PRIu64, s->best_accuracy, s->best_step);
    (void)snprintf(text[5], 80, "%s", s->result_hash);
    (void)snprintf(text[6], 80, "%" PRIu64, o->updates);
    (void)snprintf(text[7], 80, "%d", s->tested);
    (void)snprintf(text[8], 80, "%a %a %" PRIu64, s->val_loss, s->val_accuracy, s->val_step);
    static char names[META_COUNT][20] = { "format", "step", "epoch", "cursor", "best",
                                          "result_hash", "updates", "tested", "validation" };
    struct safetensors_meta meta[META_COUNT];
    for (size_t i = 0; i < META_COUNT; i++)
        meta[i] = (struct safetensors_meta){ names[i], text[i] };
    return safetensors_write(path, p->entries, p->count, meta, META_COUNT, e);
}

/* Leaves `keep` files up to `step`, the one just written, and those of later steps: they are of
 * another run, or damaged. */
static int delete_old(const char *dir, uint64_t step, size_t keep, struct err *e)
{
    uint64_t *steps;
    size_t n, kept = 0;
    char path[PATH_MAX];
    const int rc = list_steps(dir, &steps, &n, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (steps[i] >= step || kept + 1 < keep) {
            kept += steps[i] < step;
            continue;
        }
        path_of(dir, steps[i], path);
        if (unlink(path) != 0) log_warn("worker.checkpoint", "%s: %s", path, strerror(errno));
    }
    mem_free(steps);
    return rc;
}

int checkpoint_save(const char *dir, const struct net *n, const struct optimizer *o,
                    const struct checkpoint_state *s, size_t keep, struct err *e)
{
    struct parts p = { .capacity = 2 * net_param_count(n) + OPTIMIZER_SLOTS_MAX };
    p.entries = mem_calloc(p.capacity, sizeof p.entries[0]);
    p.values = mem_calloc(weights_floats(n) + 1, sizeof p.values[0]);
    int rc = 0;
    if (p.entries == NULL || p.values == NULL) {
        rc = err_set(e, ERR_NOMEM, "checkpoint");
    } else {
        char path[PATH_MAX];
        weights_collect(n, p.values);
        add_weights(&p, n, "", p.values);
        if (s->best != NULL && s->best_step > 0) add_weights(&p, n, "best.", s->best);
        for (size_t i = 0; i < o->ops->n_slots; i++)
            add_part(&p, "optimizer.", o->ops->slots[i], &o->floats, 1, o->floats, o->slot[i]);
        path_of(dir, s->step, path);
        rc = write_file(path, &p, o, s, e);
        if (rc == 0) rc = delete_old(dir, s->step, keep, e);
    }
    mem_free(p.values);
    mem_free(p.entries);
    return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */
static bool number(const struct safetensors *f, const char *key, uint64_t *out)
{
    const char *text = safetensors_meta_find(f, key);
    return text != NULL && sscanf(text, "%" SCNu64, out) == 1;
}

static const float *part(const struct safetensors *f, const char *prefix, const char *name,
                         size_t elements)
{
    char full[SAFETENSORS_NAME_MAX];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    const struct safetensors_entry *t = safetensors_find(f, full);
    return t != NULL && t->type == SAFETENSORS_F32 && t->elements == elements ? t->data : NULL;
}

/* Figures of the last validation; a file of an earlier build has none. */
static void read_validation(const struct safetensors *f, struct checkpoint_state *s)
{
    const char *text = safetensors_meta_find(f, "validation");
    if (text != NULL && sscanf(text, "%la %la %" SCNu64, &s->val_loss, &s->val_accuracy,
                               &s->val_step) == 3)
        return;
    s->val_loss = s->val_accuracy = (double)NAN;
    s->val_step = 0;
}

/* All parts must be there before anything is taken over. */
static bool complete(const struct safetensors *f, const struct net *n, const struct optimizer *o,
                     bool best)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (part(f, "", p->name, p->logical) == NULL) return false;
        if (best && part(f, "best.", p->name, p->logical) == NULL) return false;
    }
    for (size_t i = 0; i < o->ops->n_slots; i++)
        if (part(f, "optimizer.", o->ops->slots[i], o->floats) == NULL) return false;
    return true;
}

static void take_over(const struct safetensors *f, struct net *n, struct optimizer *o,
                      struct checkpoint_state *s)
{
    float *best = s->best;
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        net_param_write(n, i, part(f, "", p->name, p->logical));
        if (s->best_step > 0 && best != NULL) {
            memcpy(best, part(f, "best.", p->name, p->logical), p->logical * sizeof best[0]);
            best += p->logical;
        }
    }
    for (size_t i = 0; i < o->ops->n_slots; i++)
        memcpy(o->slot[i], part(f, "optimizer.", o->ops->slots[i], o->floats),
               o->floats * sizeof o->slot[0][0]);
}

static int load_file(const char *path, struct net *n, struct optimizer *o,
                     struct checkpoint_state *s, struct err *e)
{
    struct safetensors f;
    int rc = safetensors_read(path, &f, e);
    if (rc != 0) return rc;
    struct checkpoint_state got = *s;
    uint64_t format = 0, updates = 0, tested = 0;
    const char *hash = safetensors_meta_find(&f, "result_hash");
    const char *best = safetensors_meta_find(&f, "best");
    const bool whole = number(&f, "format", &format) && number(&f, "step", &got.step) &&
                       number(&f, "epoch", &got.epoch) && number(&f, "cursor", &got.cursor) &&
                       number(&f, "updates", &updates) && number(&f, "tested", &tested) &&
                       hash != NULL && best != NULL &&
                       sscanf(best, "%la %" SCNu64, &got.best_accuracy, &got.best_step) == 2;
    if (!whole || format != CHECKPOINT_FORMAT) {
        rc = err_set(e, ERR_DATA, "%.150s: not a checkpoint of format %d", path, CHECKPOINT_FORMAT);
    } else if (strcmp(hash, s->result_hash) != 0) {
        rc = err_set(e, ERR_CONFLICT, "%.150s: made from another spec or other data", path);
    } else if (!complete(&f, n, o, got.best_step > 0)) {
        rc = err_set(e, ERR_DATA, "%.150s: tensors are missing", path);
    } else {
        *s = got;
        o->updates = updates;
        s->tested = tested != 0;
        read_validation(&f, s);
        take_over(&f, n, o, s);
    }
    safetensors_deinit(&f);
    return rc;
}

int checkpoint_load(const char *dir, struct net *n, struct optimizer *o, struct checkpoint_state *s,
                    bool *found, struct err *e)
{
    uint64_t *steps;
    size_t count;
    int rc = list_steps(dir, &steps, &count, e);
    bool done = rc != 0, taken = false;
    for (size_t i = 0; !done && i < count; i++) {
        char path[PATH_MAX];
        path_of(dir, steps[i], path);
        rc = load_file(path, n, o, s, e);
        taken = rc == 0;
        done = taken || rc == ERR_CONFLICT || rc == ERR_NOMEM;
        if (!done) log_warn("worker.checkpoint", "skipped: %s", e->text);
    }
    mem_free(steps);
    if (done && !taken) return rc;
    err_clear(e);
    *found = taken;
    return 0;
}

static int copy_file(const char *from, const char *to, struct err *e)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return err_errno(e, errno, "%.100s", from);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char block[1 << 16];
    ssize_t n = out < 0 ? -1 : 1;
    while (n > 0 && (n = read(in, block, sizeof block)) > 0)
        if (write(out, block, (size_t)n) != n) n = -1;
    int rc = 0;
    if (n < 0 || (out >= 0 && fsync(out) != 0)) rc = err_errno(e, errno, "copying %.100s", from);
    (void)close(in);
    if (out >= 0) (void)close(out);
    return rc;
}

int checkpoint_link(const char *from, const char *to, bool *found, struct err *e)
{
    uint64_t *steps;
    size_t count;
    int rc = list_steps(from, &steps, &count, e);
    *found = false;
    for (size_t i = 0; rc == 0 && !*found && i < count; i++) {
        char source[PATH_MAX], target[PATH_MAX];
        path_of(from, steps[i], source);
        path_of(to, steps[i], target);
        struct safetensors f;
        if (safetensors_read(source, &f, e) != 0) {
            log_warn("worker.checkpoint", "skipped: %s", e->text);
            err_clear(e);
            continue;
        }
        safetensors_deinit(&f);
        *found = true;
        if (link(source, target) != 0 && errno != EEXIST) rc = copy_file(source, target, e);
    }
    mem_free(steps);
    return rc;
}

int checkpoint_refuse_foreign(const char *dir, const char *result_hash, struct err *e)
{
    uint64_t *steps;
    size_t count;
    int rc = list_steps(dir, &steps, &count, e);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char path[PATH_MAX];
        struct safetensors f;
        path_of(dir, steps[i], path);
        if (safetensors_read(path, &f, e) != 0) {
            err_clear(e); /* damaged: nobody's */
            continue;
        }
        const char *hash = safetensors_meta_find(&f, "result_hash");
        if (hash != NULL && strcmp(hash, result_hash) != 0)
            rc = err_set(e, ERR_CONFLICT,
                         "%.110s is of another spec or other data: go on with that spec and "
                         "--resume, or choose another --out", path);
        safetensors_deinit(&f);
    }
    mem_free(steps);
    return rc;
}
