/* checkpoint: see checkpoint.h. */
#include "worker/train/checkpoint.h"

#include "common/crash.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/train/tensor_list.h"

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
#define META_COUNT 13
#define META_TEXT_MAX (2 * CHECKPOINT_MAKER_MAX)
#define PREFIX_MAX 48

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
/* Moments of every learned parameter, in PyTorch's order, behind one another in `values`. */
static void add_moments(struct tensor_list *l, const struct net *n, const struct optimizer *o,
                        float *values)
{
    for (size_t k = 0; k < o->ops->n_slots; k++) {
        char prefix[PREFIX_MAX];
        if (o->slot[k] == NULL) continue;
        (void)snprintf(prefix, sizeof prefix, "optimizer.%s.", o->ops->slots[k]);
        for (size_t i = 0; i < net_param_count(n); i++) {
            const struct net_param *p = net_param(n, i);
            if (p->role != NET_WEIGHT) continue;
            net_param_unpack(n, i, o->slot[k], values);
            tensor_list_add_param(l, p, prefix, values);
            values += p->logical;
        }
    }
}

/* Averages of every parameter and buffer, in PyTorch's order. */
static void add_averages(struct tensor_list *l, const struct net *n, const struct ema *a,
                         float *values)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        net_param_unpack(n, i, ema_block(a, p), values);
        tensor_list_add_param(l, p, "ema.", values);
        values += p->logical;
    }
}

static int write_file(const char *path, const struct tensor_list *l, const struct optimizer *o,
                      const struct checkpoint_state *s, struct err *e)
{
    char text[META_COUNT][META_TEXT_MAX];
    (void)snprintf(text[0], META_TEXT_MAX, "%d", CHECKPOINT_FORMAT);
    (void)snprintf(text[1], META_TEXT_MAX, "%" PRIu64, s->step);
    (void)snprintf(text[2], META_TEXT_MAX, "%" PRIu64, s->epoch);
    (void)snprintf(text[3], META_TEXT_MAX, "%" PRIu64, s->cursor);
    (void)snprintf(text[4], META_TEXT_MAX, "%a %" PRIu64, s->best_accuracy, s->best_step);
    (void)snprintf(text[5], META_TEXT_MAX, "%s", s->result_hash);
    (void)snprintf(text[6], META_TEXT_MAX, "%" PRIu64, o->updates);
    (void)snprintf(text[7], META_TEXT_MAX, "%d", s->tested);
    (void)snprintf(text[8], META_TEXT_MAX, "%a %a %" PRIu64, s->val_loss, s->val_accuracy,
                   s->val_step);
    (void)snprintf(text[9], META_TEXT_MAX, "%s", s->build);
    (void)snprintf(text[10], META_TEXT_MAX, "%s", s->cpu);
    (void)snprintf(text[11], META_TEXT_MAX, "%s", s->mixed);
    (void)snprintf(text[12], META_TEXT_MAX, "%a %" PRIu64, s->stop_best, s->stop_waited);
    static char names[META_COUNT][20] = { "format", "step", "epoch", "cursor", "best",
                                          "result_hash", "updates", "tested", "validation",
                                          "build", "cpu", "mixed", "early_stop" };
    struct safetensors_meta meta[META_COUNT];
    for (size_t i = 0; i < META_COUNT; i++)
        meta[i] = (struct safetensors_meta){ names[i], text[i] };
    return safetensors_write(path, l->entries, l->count, meta, META_COUNT, e);
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
    const size_t own = weights_floats(n), all = own * (2 + o->ops->n_slots);
    const int64_t batches = (int64_t)s->step, best_batches = (int64_t)s->best_step;
    const bool best = s->best != NULL && s->best_step > 0;
    struct tensor_list list;
    int rc = tensor_list_init(&list, n, 3 + o->ops->n_slots, e);
    if (rc != 0) return rc;
    float *values = mem_calloc(all + 1, sizeof values[0]);
    if (values == NULL) {
        rc = err_set(e, ERR_NOMEM, "checkpoint of %zu values", all);
    } else {
        char path[PATH_MAX];
        tensor_list_add_counters(&list, n, "", &batches);
        if (best) tensor_list_add_counters(&list, n, "best.", &best_batches);
        weights_collect(n, values);
        tensor_list_add_values(&list, n, "", values);
        if (best) tensor_list_add_values(&list, n, "best.", s->best);
        if (s->ema != NULL && s->ema->begun) add_averages(&list, n, s->ema, values + own);
        add_moments(&list, n, o, values + 2 * own);
        path_of(dir, s->step, path);
        rc = write_file(path, &list, o, s, e);
        crash_point(CRASH_CHECKPOINT_AFTER_RENAME);
        if (rc == 0) rc = delete_old(dir, s->step, keep, e);
    }
    mem_free(values);
    tensor_list_deinit(&list);
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

static const float *moment(const struct safetensors *f, const struct optimizer *o, size_t slot,
                           const struct net_param *p)
{
    char prefix[PREFIX_MAX];
    (void)snprintf(prefix, sizeof prefix, "optimizer.%s.", o->ops->slots[slot]);
    return part(f, prefix, p->name, p->logical);
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

/* A file of an earlier build has none. */
static void read_early_stop(const struct safetensors *f, struct checkpoint_state *s)
{
    const char *text = safetensors_meta_find(f, "early_stop");
    if (text != NULL && sscanf(text, "%la %" SCNu64, &s->stop_best, &s->stop_waited) == 2) return;
    s->stop_best = (double)NAN;
    s->stop_waited = 0;
}

/* All parts must be there before anything is taken over. */
static bool complete(const struct safetensors *f, const struct net *n, const struct optimizer *o,
                     bool best, bool average)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (part(f, "", p->name, p->logical) == NULL) return false;
        if (best && part(f, "best.", p->name, p->logical) == NULL) return false;
        if (average && part(f, "ema.", p->name, p->logical) == NULL) return false;
        for (size_t k = 0; p->role == NET_WEIGHT && k < o->ops->n_slots; k++)
            if (o->slot[k] != NULL && moment(f, o, k, p) == NULL) return false;
    }
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
        if (s->ema != NULL && s->ema->begun)
            net_param_pack(n, i, part(f, "ema.", p->name, p->logical), ema_block(s->ema, p));
        for (size_t k = 0; p->role == NET_WEIGHT && k < o->ops->n_slots; k++)
            if (o->slot[k] != NULL) net_param_pack(n, i, moment(f, o, k, p), o->slot[k]);
    }
}

/* Another build or CPU may give other bits: that is no reason to refuse, but one to say so. */
static void note_maker(const struct safetensors *f, struct checkpoint_state *s)
{
    const char *build = safetensors_meta_find(f, "build"), *cpu = safetensors_meta_find(f, "cpu");
    const char *mixed = safetensors_meta_find(f, "mixed");
    if (build == NULL) build = "?";
    if (cpu == NULL) cpu = "?";
    if (mixed != NULL && mixed[0] != '\0')
        (void)snprintf(s->mixed, sizeof s->mixed, "%s", mixed);
    else if (strcmp(build, s->build) != 0 || strcmp(cpu, s->cpu) != 0)
        (void)snprintf(s->mixed, sizeof s->mixed, "%.78s on %.76s", build, cpu);
    else s->mixed[0] = '\0';
    if (s->mixed[0] != '\0')
        log_warn("worker.checkpoint", "goes on from step %" PRIu64 " of %s, here is %s on %s: the "
                 "bits may differ from those of an uninterrupted run", s->step, s->mixed, s->build,
                 s->cpu);
}

static bool averaged(const struct checkpoint_state *s)
{
    return s->ema != NULL && s->ema->decay > 0;
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
    } else if (!complete(&f, n, o, got.best_step > 0, averaged(s) && updates > 0)) {
        rc = err_set(e, ERR_DATA, "%.150s: tensors are missing", path);
    } else {
        *s = got;
        o->updates = updates;
        s->tested = tested != 0;
        read_validation(&f, s);
        read_early_stop(&f, s);
        note_maker(&f, s);
        if (averaged(s)) s->ema->begun = updates > 0;
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
