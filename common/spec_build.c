/* spec_build: see spec_build.h. */
#include "common/spec_build.h"

#include "common/mem.h"

#include <stdio.h>
#include <string.h>

struct spec_place spec_build_begin(const struct spec *s)
{
    const struct spec_dataset_info *info = s->data;
    return (struct spec_place){ SPEC_INPUT, info != NULL ? info->shape.c : 0 };
}

bool spec_path_join(char out[SPEC_PATH_MAX], const char *prefix, const char *name,
                    const char *pointer, struct json_faults *faults)
{
    if ((size_t)snprintf(out, SPEC_PATH_MAX, "%s%s", prefix, name) < SPEC_PATH_MAX) return true;
    json_fault_add(faults, pointer, "too_long", "a layer's path has at most %d bytes",
                   SPEC_PATH_MAX - 1);
    return false;
}

/* ---- layers ---------------------------------------------------------------------------------- */
static struct spec_layer *grow(struct spec_builder *b)
{
    struct spec *s = b->s;
    if (s->n_layers == SPEC_LAYERS_MAX) {
        if (!b->too_many)
            json_fault_add(b->faults, "/network", "too_long",
                           "must have at most %d layers, groups resolved", SPEC_LAYERS_MAX);
        b->too_many = true;
        s->layers[SPEC_LAYERS_MAX - 1].unread = true;
        return NULL;
    }
    if (s->n_layers == b->layers_room) {
        const size_t room = b->layers_room == 0 ? 32 : 2 * b->layers_room;
        struct spec_layer *more = mem_realloc_array(s->layers, room, sizeof more[0]);
        if (more == NULL) {
            b->out_of_memory = true;
            return NULL;
        }
        s->layers = more;
        b->layers_room = room;
    }
    return &s->layers[s->n_layers++];
}

static int64_t channels_after(const struct spec_layer *l, int64_t before)
{
    switch (l->type) {
    case SPEC_CONV2D: return l->u.conv2d.out_channels;
    case SPEC_CONV1D: return l->u.conv1d.out_channels;
    case SPEC_CONV_TRANSPOSE2D: return l->u.conv_transpose2d.out_channels;
    case SPEC_LINEAR: return l->u.linear.out_features;
    case SPEC_FLATTEN: return 0;
    case SPEC_VOTING: return before / l->u.voting.size;
    default: return before;
    }
}

/* A body walks time step by step. */
static void check_mixing(const struct spec_builder *b, const struct spec_layer *l)
{
    const char *why = b->recurrent > 0 ? spec_layer_mixes_time(l) : NULL;
    if (why == NULL) return;
    char here[200];
    size_t count;
    const bool neuron = l->type == SPEC_NEURON;
    if (neuron) spec_pointer(here, sizeof here, l->pointer, "model");
    json_fault_add(b->faults, neuron ? here : l->pointer, "not_allowed",
                   "%s cannot be in the body of a recurrent layer: %s",
                   neuron ? spec_neuron_models(&count)[l->u.neuron.model].name
                          : spec_layer_type_name(l->type),
                   why);
}

bool spec_build_add(struct spec_builder *b, const struct spec_layer *l, struct spec_place *at)
{
    check_mixing(b, l);
    struct spec_layer *to = grow(b);
    if (to == NULL) return false;
    *to = *l;
    to->inputs[0] = at->node;
    to->n_inputs = 1;
    at->node = b->s->n_layers - 1;
    at->channels = channels_after(l, at->channels);
    return true;
}

bool spec_build_meet(struct spec_builder *b, const struct spec_layer *head, int connect,
                     size_t body, size_t shortcut, struct spec_place *at)
{
    struct spec_layer *to = grow(b);
    if (to == NULL) return false;
    *to = (struct spec_layer){ .type = SPEC_RESIDUAL, .inputs = { body, shortcut }, .n_inputs = 2 };
    to->u.residual.connect = connect;
    memcpy(to->path, head->path, sizeof to->path);
    memcpy(to->pointer, head->pointer, sizeof to->pointer);
    at->node = b->s->n_layers - 1;
    return true;
}

/* ---- groups ---------------------------------------------------------------------------------- */
size_t spec_build_open(struct spec_builder *b, const struct spec_layer *head)
{
    struct spec *s = b->s;
    if (s->n_groups == b->groups_room) {
        const size_t room = b->groups_room == 0 ? 16 : 2 * b->groups_room;
        struct spec_group *more = mem_realloc_array(s->groups, room, sizeof more[0]);
        if (more == NULL) {
            b->out_of_memory = true;
            return SIZE_MAX;
        }
        s->groups = more;
        b->groups_room = room;
    }
    s->groups[s->n_groups] = (struct spec_group){ .head = *head, .begin = s->n_layers };
    b->depth++;
    return s->n_groups++;
}

void spec_build_body_end(struct spec_builder *b, size_t group)
{
    b->s->groups[group].body_end = b->s->n_layers;
}

void spec_build_close(struct spec_builder *b, size_t group)
{
    struct spec_group *g = &b->s->groups[group];
    g->end = b->s->n_layers;
    if (g->head.type != SPEC_RESIDUAL) g->body_end = g->end;
    b->depth--;
}

/* ---- parts of a block ------------------------------------------------------------------------ */
struct block {
    struct spec_builder *b;
    const struct spec_layer *head;
    int64_t stride;
};

static struct spec_layer part(const struct block *k, enum spec_layer_type type, const char *name)
{
    struct spec_layer l = { .type = type };
    (void)spec_path_join(l.path, k->head->path, name, k->head->pointer, k->b->faults);
    memcpy(l.pointer, k->head->pointer, sizeof l.pointer);
    l.unread = k->head->unread;
    if (type != SPEC_NEURON) spec_default_object(&spec_object_layer, &l);
    return l;
}

/* ---- blocks of residual networks ------------------------------------------------------------- */
static void add_conv(const struct block *k, const char *conv, const char *norm, int64_t channels,
                     int64_t size, int64_t stride, enum spec_norm_init init, struct spec_place *at)
{
    struct spec_layer c = part(k, SPEC_CONV2D, conv), n = part(k, SPEC_BATCH_NORM, norm);
    for (int axis = 0; axis < 2; axis++) {
        c.u.conv2d.kernel_size[axis] = size;
        c.u.conv2d.stride[axis] = stride;
        c.u.conv2d.padding[axis] = size / 2;
    }
    c.u.conv2d.out_channels = channels;
    c.u.conv2d.bias = false;
    c.u.conv2d.init = k->head->u.block.init;
    n.u.batch_norm.init = init;
    if (spec_build_add(k->b, &c, at)) (void)spec_build_add(k->b, &n, at);
}

static void add_spikes(const struct block *k, const char *name, struct spec_place *at)
{
    struct spec_layer n = part(k, SPEC_NEURON, name);
    n.u.neuron = k->head->u.block.neuron;
    (void)spec_build_add(k->b, &n, at);
}

/* Of the last batch norm, so that a block with zero_init gives what its shortcut gives. */
static enum spec_norm_init last_init(const struct block *k)
{
    if (!k->head->u.block.zero_init) return SPEC_NORM_STANDARD;
    const bool sew = k->head->type == SPEC_SEW_BLOCK;
    return sew && k->head->u.block.connect == SPEC_AND ? SPEC_NORM_FIRING : SPEC_NORM_SILENT;
}

/* conv-bn-neuron two or three times; the last neuron of a spiking block comes after the sum. */
static void add_body(const struct block *k, struct spec_place *at)
{
    static const char *const names[3][3] = { { ".conv1", ".bn1", ".sn1" },
                                             { ".conv2", ".bn2", ".sn2" },
                                             { ".conv3", ".bn3", ".sn3" } };
    const struct spec_block *p = &k->head->u.block;
    const bool basic = p->style == SPEC_BLOCK_BASIC;
    const int n = basic ? 2 : 3, strided = basic ? 0 : 1;
    for (int i = 0; i < n; i++) {
        const int64_t channels = i == 2 ? 4 * p->out_channels : p->out_channels;
        add_conv(k, names[i][0], names[i][1], channels, basic || i == 1 ? 3 : 1,
                 i == strided ? p->stride : 1, i + 1 < n ? SPEC_NORM_STANDARD : last_init(k), at);
        if (i + 1 < n || k->head->type == SPEC_SEW_BLOCK) add_spikes(k, names[i][2], at);
    }
}

static bool wants_downsample(const struct block *k, int64_t channels)
{
    const struct spec_block *p = &k->head->u.block;
    if (p->downsample != SPEC_DOWNSAMPLE_AUTO) return p->downsample == SPEC_DOWNSAMPLE_YES;
    const int64_t out = (p->style == SPEC_BLOCK_BASIC ? 1 : 4) * p->out_channels;
    char here[200];
    spec_pointer(here, sizeof here, k->head->pointer, "downsample");
    if (p->stride == 1 && channels == 0)
        json_fault_add(k->b->faults, here, "bad_shape",
                       "say \"yes\" or \"no\": the channels before this block are not known yet");
    return p->stride != 1 || channels != out;
}

void spec_build_block(struct spec_builder *b, const struct spec_layer *head, struct spec_place *at)
{
    const struct block k = { b, head, head->u.block.stride };
    const size_t group = spec_build_open(b, head);
    if (group == SIZE_MAX) return;
    const bool sew = head->type == SPEC_SEW_BLOCK;
    struct spec_place body = *at, shortcut = *at;
    add_body(&k, &body);
    if (wants_downsample(&k, at->channels)) {
        const int64_t out = body.channels;
        add_conv(&k, ".downsample.0", ".downsample.1", out, 1, head->u.block.stride,
                 SPEC_NORM_STANDARD, &shortcut);
        if (sew) add_spikes(&k, ".downsample_sn", &shortcut);
    }
    const int connect = sew ? head->u.block.connect : SPEC_ADD;
    at->channels = body.channels;
    if (spec_build_meet(b, head, connect, body.node, shortcut.node, at))
        b->s->layers[at->node].blame = "downsample";
    const bool basic = head->u.block.style == SPEC_BLOCK_BASIC;
    if (!sew) add_spikes(&k, basic ? ".sn2" : ".sn3", at);
    spec_build_close(b, group);
}

/* ---- attention ------------------------------------------------------------------------------- */
void spec_build_attention(struct spec_builder *b, const struct spec_layer *head,
                          struct spec_place *at)
{
    const struct block k = { .b = b, .head = head };
    struct spec_layer ta = part(&k, SPEC_TEMPORAL_ATTENTION, ".ta"),
                      ca = part(&k, SPEC_CHANNEL_ATTENTION, ".ca"),
                      sa = part(&k, SPEC_SPATIAL_ATTENTION, ".sa"),
                      relu = part(&k, SPEC_RELU, ".relu");
    const bool temporal = head->u.multi_attention.temporal;
    const bool channel = head->u.multi_attention.channel;
    const bool spatial = head->u.multi_attention.spatial;
    ta.u.attention.reduction = head->u.multi_attention.reduction_t;
    ca.u.attention.reduction = head->u.multi_attention.reduction_c;
    ta.blame = "reduction_t";
    ca.blame = "reduction_c";
    sa.u.spatial_attention.kernel_size = head->u.multi_attention.kernel_size;
    if (!temporal && !channel && !spatial)
        json_fault_add(b->faults, head->pointer, "not_allowed",
                       "temporal, channel and spatial are false: no attention is left");
    const size_t group = spec_build_open(b, head);
    if (group == SIZE_MAX) return;
    if (temporal) (void)spec_build_add(b, &ta, at);
    if (channel) (void)spec_build_add(b, &ca, at);
    if (spatial) (void)spec_build_add(b, &sa, at);
    (void)spec_build_add(b, &relu, at);
    spec_build_close(b, group);
}
