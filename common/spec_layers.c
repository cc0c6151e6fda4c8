/* spec_layers: network.layers, a list of layers and groups that nest, resolved into spec.layers and
 * spec.groups. Any thread. See spec_build.h. */
#include "common/spec_build.h"
#include "common/spec_misfits.h"

#include <stdio.h>
#include <string.h>

static bool name_valid(const char *name)
{
    const size_t n = strlen(name);
    return n > 0 && n < SPEC_PATH_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == n;
}

/* The path of item `index` of a list: its name, else its index, below prefix. */
static void read_path(const cJSON *json, size_t index, const char *prefix, struct spec_layer *l,
                      struct json_faults *faults)
{
    char own[24], here[200];
    (void)snprintf(own, sizeof own, "%zu", index);
    const cJSON *v = json_get(json, "name");
    spec_pointer(here, sizeof here, l->pointer, "name");
    if (v != NULL && (!cJSON_IsString(v) || !name_valid(v->valuestring))) {
        json_fault_add(faults, here, "not_allowed", "a layer's name has letters, digits and '_'");
        v = NULL;
    }
    (void)spec_path_join(l->path, prefix, v != NULL ? v->valuestring : own,
                         v != NULL ? here : l->pointer, faults);
}

/* The field `neuron` of a layer, on top of network.neuron. */
static void read_own_neuron(struct spec_builder *b, const cJSON *json, const struct spec_layer *l,
                            struct spec_neuron *out)
{
    char here[200];
    const cJSON *neuron = json_get(json, "neuron");
    spec_pointer(here, sizeof here, l->pointer, "neuron");
    *out = b->neuron;
    if (neuron == NULL) return;
    spec_read_neuron(neuron, here, &b->neuron, NULL, 0, out, b->faults);
    spec_refuse_idle(b, neuron, here, out, true);
}

static void read_fields(struct spec_builder *b, const cJSON *json, struct spec_layer *l)
{
    static const char *const own[] = { "name", "type" };
    const char *type = json_get_string(json, "type", "");
    const size_t before = b->faults->total;
    if (strcmp(type, spec_layer_type_name(SPEC_NEURON)) == 0) {
        l->type = SPEC_NEURON;
        spec_read_neuron(json, l->pointer, &b->neuron, own, 2, &l->u.neuron, b->faults);
        spec_refuse_idle(b, json, l->pointer, &l->u.neuron, true);
        l->unread = b->faults->total > before;
        return;
    }
    spec_read_object(&spec_object_layer, json, l->pointer, own, 1, l, b->faults);
    struct spec_misfits m = { .n = 0 };
    if (b->faults->total == before) spec_layer_rules(l, &m);
    l->unread = b->faults->total > before || m.lost;
    spec_report_misfits(l, &m, b->faults);
    const bool pool = l->type == SPEC_MAX_POOL2D || l->type == SPEC_AVG_POOL2D;
    for (int axis = 0; pool && axis < 2; axis++)
        if (l->u.pool.stride[axis] == 0) l->u.pool.stride[axis] = l->u.pool.kernel_size[axis];
}

/* In place of layers that were not understood: what comes out of them is not known. */
static void add_unread(struct spec_builder *b, const struct spec_layer *head, const char *infix,
                       struct spec_place *at)
{
    struct spec_layer l = { .type = SPEC_RELU, .unread = true };
    (void)spec_path_join(l.path, head->path, infix, head->pointer, b->faults);
    memcpy(l.pointer, head->pointer, sizeof l.pointer);
    (void)spec_build_add(b, &l, at);
}

/* The list `name` of a group, below the group's path + infix. */
static void read_inner(struct spec_builder *b, const cJSON *json, const struct spec_layer *head,
                       const char *name, const char *infix, size_t least, struct spec_place *at)
{
    const cJSON *list = json_get(json, name);
    char here[200], prefix[SPEC_PATH_MAX];
    spec_pointer(here, sizeof here, head->pointer, name);
    if (list == NULL && least == 0) return;
    if (list == NULL) { /* reported by the table */
        add_unread(b, head, infix, at);
    } else if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) < least) {
        json_fault_add(b->faults, here, "wrong_type", "must be a list of %slayers",
                       least > 0 ? "1 or more " : "");
        add_unread(b, head, infix, at);
    } else if (spec_path_join(prefix, head->path, infix, here, b->faults)) {
        spec_read_layers(b, list, here, prefix, at);
    }
}

static void read_residual(struct spec_builder *b, const cJSON *json, const struct spec_layer *head,
                          size_t group, struct spec_place *at)
{
    struct spec_place body = *at, shortcut = *at;
    read_inner(b, json, head, "body", ".", 1, &body);
    spec_build_body_end(b, group);
    read_inner(b, json, head, "shortcut", ".downsample.", 0, &shortcut);
    at->channels = body.channels;
    (void)spec_build_meet(b, head, head->u.residual.connect, body.node, shortcut.node, at);
}

/* A layer of a recurrent group: fields of the group, a path below it. */
static struct spec_layer part_of(const struct spec_builder *b, const struct spec_layer *head,
                                 const char *name)
{
    struct spec_layer l = *head;
    (void)spec_path_join(l.path, head->path, name, head->pointer, b->faults);
    return l;
}

static void add_own_neuron(struct spec_builder *b, const struct spec_layer *head,
                           struct spec_place *at)
{
    struct spec_layer l = part_of(b, head, ".sub_module");
    l.type = SPEC_NEURON;
    spec_pointer(l.pointer, sizeof l.pointer, head->pointer, "neuron");
    l.u.neuron = head->u.recurrent.neuron;
    (void)spec_build_add(b, &l, at);
}

static void read_recurrent(struct spec_builder *b, const cJSON *json, struct spec_layer *head,
                           struct spec_place *at)
{
    const bool list = json_get(json, "body") != NULL;
    char here[200];
    spec_pointer(here, sizeof here, head->pointer, "body");
    if (list && json_get(json, "neuron") != NULL)
        json_fault_add(b->faults, here, "not_allowed", "a body takes the place of 'neuron'");
    head->u.recurrent.neurons = list ? 0 : 1;
    spec_refuse_idle_bias(b, json, head);
    if (!list) read_own_neuron(b, json, head, &head->u.recurrent.neuron);
    const size_t group = spec_build_open(b, head), join = b->s->n_layers;
    if (group == SIZE_MAX) return;
    const struct spec_layer rc = part_of(b, head, ".rc");
    b->recurrent++;
    if (!spec_build_add(b, &rc, at)) return;
    if (list) read_inner(b, json, head, "body", ".sub_module.", 1, at);
    else add_own_neuron(b, head, at);
    b->recurrent--;
    b->s->layers[join].u.recurrent.body = b->s->n_layers - 1 - join;
    spec_build_close(b, group);
}

static void read_block(struct spec_builder *b, const cJSON *json, struct spec_layer *head,
                       struct spec_place *at)
{
    read_own_neuron(b, json, head, &head->u.block.neuron);
    spec_build_block(b, head, at);
}

static void read_item(struct spec_builder *b, const cJSON *json, size_t index, const char *pointer,
                      const char *prefix, struct spec_place *at)
{
    struct spec_layer l = { .type = SPEC_LAYER_TYPE_COUNT };
    char number[24];
    (void)snprintf(number, sizeof number, "%zu", index);
    spec_pointer(l.pointer, sizeof l.pointer, pointer, number);
    if (!cJSON_IsObject(json)) {
        json_fault_add(b->faults, l.pointer, "wrong_type", "must be an object");
        read_path(json, index, prefix, &l, b->faults);
        add_unread(b, &l, "", at);
        return;
    }
    read_path(json, index, prefix, &l, b->faults);
    read_fields(b, json, &l);
    if (l.type < SPEC_RECURRENT) {
        (void)spec_build_add(b, &l, at);
    } else if (b->depth == SPEC_DEPTH_MAX) {
        json_fault_add(b->faults, l.pointer, "too_long", "groups nest at most %d deep",
                       SPEC_DEPTH_MAX);
        add_unread(b, &l, "", at);
    } else if (l.type == SPEC_RECURRENT) {
        read_recurrent(b, json, &l, at);
    } else if (l.type == SPEC_RESIDUAL || l.type == SPEC_SEQUENTIAL) {
        const size_t group = spec_build_open(b, &l);
        if (group == SIZE_MAX) return;
        if (l.type == SPEC_RESIDUAL) read_residual(b, json, &l, group, at);
        else read_inner(b, json, &l, "body", ".", 1, at);
        spec_build_close(b, group);
    } else if (l.type == SPEC_MULTI_DIMENSIONAL_ATTENTION) {
        spec_build_attention(b, &l, at);
    } else if (l.type == SPEC_LAYER_TYPE_COUNT) {
        add_unread(b, &l, "", at);
    } else {
        read_block(b, json, &l, at);
    }
}

void spec_read_layers(struct spec_builder *b, const cJSON *list, const char *pointer,
                      const char *prefix, struct spec_place *at)
{
    size_t index = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (b->out_of_memory || b->too_many) return;
        read_item(b, item, index++, pointer, prefix, at);
    }
}
