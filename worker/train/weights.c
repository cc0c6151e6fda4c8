/* weights: parameters and buffers of a net as one array, and as a safetensors file. See
 * checkpoint.h. */
#include "worker/train/checkpoint.h"

#include "common/mem.h"
#include "worker/train/tensor_list.h"

#include <stdio.h>
#include <string.h>

size_t weights_floats(const struct net *n)
{
    size_t total = 0;
    for (size_t i = 0; i < net_param_count(n); i++) total += net_param(n, i)->logical;
    return total;
}

void weights_collect(const struct net *n, float *out)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        net_param_read(n, i, out);
        out += net_param(n, i)->logical;
    }
}

void weights_restore(struct net *n, const float *values)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        net_param_write(n, i, values);
        values += net_param(n, i)->logical;
    }
}

int weights_save(const char *path, const struct net *n, const float *values, uint64_t batches,
                 struct err *e)
{
    const size_t floats = weights_floats(n);
    const int64_t counter = (int64_t)batches;
    struct tensor_list list;
    int rc = tensor_list_init(&list, n, 1, e);
    if (rc != 0) return rc;
    float *own = values == NULL ? mem_calloc(floats + 1, sizeof own[0]) : NULL;
    if (values == NULL && own == NULL) {
        rc = err_set(e, ERR_NOMEM, "%zu weights", floats);
    } else {
        if (own != NULL) weights_collect(n, own);
        tensor_list_add_counters(&list, n, "", &counter);
        tensor_list_add_values(&list, n, "", own != NULL ? own : values);
        rc = safetensors_write(path, list.entries, list.count, NULL, 0, e);
    }
    mem_free(own);
    tensor_list_deinit(&list);
    return rc;
}

/* Appends "name (why)" to a list of faults as long as it fits. */
static void complain(char *list, size_t size, const char *name, const char *why)
{
    const size_t at = strlen(list);
    (void)snprintf(list + at, size - at, "%s%.60s (%s)", at > 0 ? ", " : "", name, why);
}

static bool same_shape(const struct net_param *p, const struct safetensors_entry *t)
{
    return t->type == SAFETENSORS_F32 && t->n_dims == p->n_dims &&
           memcmp(t->dims, p->dims, p->n_dims * sizeof p->dims[0]) == 0;
}

/* What PyTorch's files hold and has no meaning here: the counter of batches, and the constant masks
 * of masked PSN. */
static bool ignored(const char *name)
{
    static const char *const ends[] = { "num_batches_tracked", ".mask0", ".mask1" };
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const size_t k = strlen(ends[i]);
        if (n >= k && strcmp(name + n - k, ends[i]) == 0) return true;
    }
    return false;
}

static bool is_param(const struct net *n, const char *name)
{
    for (size_t i = 0; i < net_param_count(n); i++)
        if (strcmp(net_param(n, i)->name, name) == 0) return true;
    return false;
}

/* Entry of a parameter whose names begin with prefix there; NULL: it has none. */
static const struct safetensors_entry *find(const struct safetensors *file, const char *prefix,
                                            const struct net_param *p)
{
    char name[sizeof "best." + sizeof p->name];
    (void)snprintf(name, sizeof name, "%s%s", prefix, p->name);
    return safetensors_find(file, name);
}

/* alone: the file must hold nothing else. */
static int load(const struct safetensors *file, const char *path, struct net *n, const char *prefix,
                bool alone, struct err *e)
{
    char faults[ERR_TEXT_MAX] = "";
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        const struct safetensors_entry *t = find(file, prefix, p);
        if (t == NULL) complain(faults, sizeof faults, p->name, "missing");
        else if (!same_shape(p, t)) complain(faults, sizeof faults, p->name, "wrong shape");
    }
    for (size_t i = 0; alone && i < file->count; i++) {
        const char *name = file->entries[i].name;
        if (!is_param(n, name) && !ignored(name))
            complain(faults, sizeof faults, name, "unexpected");
    }
    for (size_t i = 0; faults[0] == '\0' && i < net_param_count(n); i++)
        net_param_write(n, i, find(file, prefix, net_param(n, i))->data);
    if (faults[0] == '\0') return 0;
    return err_set(e, ERR_DATA, "%.80s: %s", path, faults);
}

int weights_load(const char *path, struct net *n, struct err *e)
{
    struct safetensors file;
    int rc = safetensors_read(path, &file, e);
    if (rc != 0) return rc;
    rc = load(&file, path, n, "", true, e);
    safetensors_deinit(&file);
    return rc;
}

int weights_start(const char *path, struct net *n, bool best, struct err *e)
{
    struct safetensors file;
    int rc = safetensors_read(path, &file, e);
    if (rc != 0) return rc;
    const bool checkpoint = safetensors_meta_find(&file, "cursor") != NULL;
    rc = load(&file, path, n, checkpoint && best ? "best." : "", !checkpoint, e);
    safetensors_deinit(&file);
    return rc;
}
