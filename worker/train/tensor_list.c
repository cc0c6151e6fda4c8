/* tensor_list: see tensor_list.h. */
#include "worker/train/tensor_list.h"

#include "common/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int tensor_list_init(struct tensor_list *l, const struct net *n, size_t sets, struct err *e)
{
    *l = (struct tensor_list){ .capacity = sets * (net_param_count(n) + net_node_count(n)) };
    l->entries = mem_calloc(l->capacity + 1, sizeof l->entries[0]);
    return l->entries != NULL ? 0 : err_set(e, ERR_NOMEM, "%zu tensors", l->capacity);
}

void tensor_list_deinit(struct tensor_list *l)
{
    mem_free(l->entries);
    *l = (struct tensor_list){ 0 };
}

static struct safetensors_entry *next(struct tensor_list *l)
{
    assert(l->count < l->capacity);
    return &l->entries[l->count++];
}

void tensor_list_add_param(struct tensor_list *l, const struct net_param *p, const char *prefix,
                           const float *data)
{
    struct safetensors_entry *t = next(l);
    *t = (struct safetensors_entry){ .type = SAFETENSORS_F32, .n_dims = p->n_dims,
                                     .elements = p->logical, .data = data };
    (void)snprintf(t->name, sizeof t->name, "%s%s", prefix, p->name);
    memcpy(t->dims, p->dims, p->n_dims * sizeof p->dims[0]);
}

void tensor_list_add_values(struct tensor_list *l, const struct net *n, const char *prefix,
                            const float *values)
{
    for (size_t i = 0; i < net_param_count(n); i++) {
        tensor_list_add_param(l, net_param(n, i), prefix, values);
        values += net_param(n, i)->logical;
    }
}

void tensor_list_add_counters(struct tensor_list *l, const struct net *n, const char *prefix,
                              const int64_t *batches)
{
    for (size_t i = 0; i < net_node_count(n); i++) {
        struct net_node_info info;
        net_node(n, i, &info);
        const enum spec_layer_type type = info.spec->type;
        const bool inner = type == SPEC_TEMPORAL_BATCH_NORM; /* keeps a module of its own inside */
        if (type != SPEC_BATCH_NORM && type != SPEC_THRESHOLD_BATCH_NORM && !inner) continue;
        struct safetensors_entry *t = next(l);
        *t = (struct safetensors_entry){ .type = SAFETENSORS_I64, .elements = 1, .data = batches };
        (void)snprintf(t->name, sizeof t->name, "%s%s%s.num_batches_tracked", prefix, info.path,
                       inner ? ".bn" : "");
    }
}
