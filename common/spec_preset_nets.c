/* spec_preset_nets: the layers of every preset, named as in the classes of spec_preset_infos: those
 * of SpikingJelly's model zoo and of the repositories of the SEW ResNet and PSN papers. Any
 * thread. */
#include "common/spec_presets.h"

#include <stdio.h>
#include <string.h>

#define NESTING_MAX 6

/* A list that is being written: its path, its next index, its group. */
struct level {
    char path[SPEC_PATH_MAX];
    size_t index, group;
};
struct writer {
    struct spec_builder *b;
    const struct spec_preset *p;
    struct spec_place at;
    struct level levels[NESTING_MAX]; /* 0: network.layers */
    size_t depth;
};

/* ---- layers ---------------------------------------------------------------------------------- */
/* A layer with its defaults; name NULL: its index. */
static struct spec_layer next(struct writer *w, enum spec_layer_type type, const char *name)
{
    struct level *in = &w->levels[w->depth];
    struct spec_layer l = { .type = type, .pointer = "/network" };
    char own[24];
    (void)snprintf(own, sizeof own, "%zu", in->index++);
    (void)spec_path_join(l.path, in->path, name != NULL ? name : own, l.pointer, w->b->faults);
    if (type != SPEC_NEURON) spec_default_object(&spec_object_layer, &l);
    return l;
}

static void put(struct writer *w, const struct spec_layer *l)
{
    (void)spec_build_add(w->b, l, &w->at);
}

static void plain(struct writer *w, enum spec_layer_type type, const char *name)
{
    const struct spec_layer l = next(w, type, name);
    put(w, &l);
}

static void conv(struct writer *w, const char *name, int64_t channels, int64_t size, int64_t stride,
                 bool bias)
{
    struct spec_layer l = next(w, SPEC_CONV2D, name);
    for (int axis = 0; axis < 2; axis++) {
        l.u.conv2d.kernel_size[axis] = size;
        l.u.conv2d.stride[axis] = stride;
        l.u.conv2d.padding[axis] = size / 2;
    }
    l.u.conv2d.out_channels = channels;
    l.u.conv2d.bias = bias;
    l.u.conv2d.init = spec_preset_infos[w->p->kind].conv;
    put(w, &l);
}

static void norm(struct writer *w, const char *name) { plain(w, SPEC_BATCH_NORM, name); }

static void spikes(struct writer *w, const char *name)
{
    struct spec_layer l = next(w, SPEC_NEURON, name);
    l.u.neuron = w->b->neuron;
    put(w, &l);
}

static void pool(struct writer *w, enum spec_layer_type type, const char *name, int64_t size,
                 int64_t stride, int64_t padding)
{
    struct spec_layer l = next(w, type, name);
    for (int axis = 0; axis < 2; axis++) {
        l.u.pool.kernel_size[axis] = size;
        l.u.pool.stride[axis] = stride;
        l.u.pool.padding[axis] = padding;
    }
    put(w, &l);
}

static void adaptive(struct writer *w, const char *name, int64_t size)
{
    struct spec_layer l = next(w, SPEC_ADAPTIVE_AVG_POOL2D, name);
    l.u.adaptive.output_size[0] = l.u.adaptive.output_size[1] = size;
    put(w, &l);
}

static void linear(struct writer *w, const char *name, int64_t features, bool bias)
{
    struct spec_layer l = next(w, SPEC_LINEAR, name);
    l.u.linear.out_features = features;
    l.u.linear.bias = bias;
    l.u.linear.init = spec_preset_infos[w->p->kind].linear;
    put(w, &l);
}

/* ---- groups ---------------------------------------------------------------------------------- */
static void enter(struct writer *w, const struct spec_layer *head, size_t group)
{
    struct level *in = &w->levels[++w->depth];
    in->index = 0;
    in->group = group;
    (void)spec_path_join(in->path, head->path, ".", "/network", w->b->faults);
}

static bool open_list(struct writer *w, const char *name)
{
    const struct spec_layer head = next(w, SPEC_SEQUENTIAL, name);
    const size_t group = spec_build_open(w->b, &head);
    if (group == SIZE_MAX) return false;
    enter(w, &head, group);
    return true;
}

static void close_list(struct writer *w)
{
    spec_build_close(w->b, w->levels[w->depth--].group);
}

/* ---- residual networks ----------------------------------------------------------------------- */
static void resnet_block(struct writer *w, int64_t channels, int64_t stride)
{
    const bool sew = w->p->kind == PRESET_SEW_RESNET;
    struct spec_layer l = next(w, sew ? SPEC_SEW_BLOCK : SPEC_SPIKING_BLOCK, NULL);
    l.u.block.style = w->p->depth < 50 ? SPEC_BLOCK_BASIC : SPEC_BLOCK_BOTTLENECK;
    l.u.block.out_channels = channels;
    l.u.block.stride = stride;
    l.u.block.connect = w->p->connect;
    l.u.block.init = spec_preset_infos[w->p->kind].conv;
    l.u.block.zero_init = w->p->zero_init;
    l.u.block.neuron = w->b->neuron;
    spec_build_block(w->b, &l, &w->at);
}

static const int *resnet_stages(int64_t depth)
{
    static const int d18[] = { 2, 2, 2, 2 }, d34[] = { 3, 4, 6, 3 }, d101[] = { 3, 4, 23, 3 },
                     d152[] = { 3, 8, 36, 3 };
    return depth == 18 ? d18 : depth == 101 ? d101 : depth == 152 ? d152 : d34;
}

static void resnet(struct writer *w)
{
    const bool imagenet = w->p->stem == SPEC_STEM_IMAGENET;
    const int *stages = resnet_stages(w->p->depth);
    conv(w, "conv1", w->p->width, imagenet ? 7 : 3, imagenet ? 2 : 1, false);
    norm(w, "bn1");
    spikes(w, "sn1");
    if (imagenet) pool(w, SPEC_MAX_POOL2D, "maxpool", 3, 2, 1);
    for (int stage = 0; stage < 4; stage++) {
        char name[24];
        (void)snprintf(name, sizeof name, "layer%d", stage + 1);
        if (!open_list(w, name)) return;
        for (int i = 0; i < stages[stage]; i++)
            resnet_block(w, w->p->width << stage, stage > 0 && i == 0 ? 2 : 1);
        close_list(w);
    }
    adaptive(w, "avgpool", 1);
    plain(w, SPEC_FLATTEN, "flatten");
    linear(w, "fc", w->p->classes, true);
}

/* ---- VGG ------------------------------------------------------------------------------------- */
/* Convolutions of each of the five stages. */
static const int *vgg_stages(int64_t depth)
{
    static const int d11[] = { 1, 1, 2, 2, 2 }, d13[] = { 2, 2, 2, 2, 2 },
                     d16[] = { 2, 2, 3, 3, 3 }, d19[] = { 2, 2, 4, 4, 4 };
    return depth == 11 ? d11 : depth == 13 ? d13 : depth == 16 ? d16 : d19;
}

static void vgg(struct writer *w)
{
    const int *stages = vgg_stages(w->p->depth);
    if (!open_list(w, "features")) return;
    for (int stage = 0; stage < 5; stage++) {
        for (int i = 0; i < stages[stage]; i++) {
            conv(w, NULL, w->p->width << (stage < 3 ? stage : 3), 3, 1, true);
            if (w->p->batch_norm) norm(w, NULL);
            spikes(w, NULL);
        }
        pool(w, SPEC_MAX_POOL2D, NULL, 2, 2, 0);
    }
    close_list(w);
    adaptive(w, "avgpool", 7);
    plain(w, SPEC_FLATTEN, "flatten");
    if (!open_list(w, "classifier")) return;
    for (int i = 0; i < 2; i++) {
        linear(w, NULL, 4096, true);
        spikes(w, NULL);
        plain(w, SPEC_DROPOUT, NULL);
    }
    linear(w, NULL, w->p->classes, true);
    close_list(w);
}

/* ---- networks of the PLIF paper -------------------------------------------------------------- */
static void stage(struct writer *w, int convolutions)
{
    for (int i = 0; i < convolutions; i++) {
        conv(w, NULL, w->p->width, 3, 1, false);
        norm(w, NULL);
        spikes(w, NULL);
    }
}

/* `stages` times some convolutions and a pool, then two hidden layers and votes of ten a class. */
static void plif(struct writer *w, int stages, int convolutions, int64_t hidden)
{
    if (!open_list(w, "conv_fc")) return;
    for (int i = 0; i < stages; i++) {
        stage(w, convolutions);
        pool(w, SPEC_MAX_POOL2D, NULL, 2, 2, 0);
    }
    plain(w, SPEC_FLATTEN, NULL);
    for (int i = 0; i < 2; i++) {
        plain(w, SPEC_DROPOUT, NULL);
        linear(w, NULL, i == 0 ? hidden : 10 * w->p->classes, w->p->bias);
        spikes(w, NULL);
    }
    plain(w, SPEC_VOTING, NULL);
    close_list(w);
}

/* ---- 7B-Nets --------------------------------------------------------------------------------- */
/* Convolution and batch norm in one list, the neuron behind it. */
static void sew_unit(struct writer *w, int64_t channels, int64_t size)
{
    if (!open_list(w, NULL)) return;
    if (!open_list(w, NULL)) return;
    conv(w, NULL, channels, size, 1, false);
    norm(w, NULL);
    close_list(w);
    spikes(w, NULL);
    close_list(w);
}

static void sew_residual(struct writer *w, int64_t channels)
{
    struct spec_layer head = next(w, SPEC_RESIDUAL, NULL);
    head.u.residual.connect = w->p->connect;
    const struct spec_place in = w->at;
    const size_t group = spec_build_open(w->b, &head);
    if (group == SIZE_MAX) return;
    enter(w, &head, group);
    if (!open_list(w, "conv")) return;
    sew_unit(w, channels, 3);
    sew_unit(w, channels, 3);
    close_list(w);
    spec_build_body_end(w->b, group);
    (void)spec_build_meet(w->b, &head, w->p->connect, w->at.node, in.node, &w->at);
    close_list(w);
}

/* Seven blocks, a pool after each; the wide one doubles its channels after the fourth. */
static void seven_blocks(struct writer *w)
{
    int64_t channels = 0;
    if (!open_list(w, "conv")) return;
    for (int i = 0; i < 7 && !w->b->out_of_memory; i++) {
        const bool doubled = w->p->kind == PRESET_WIDE_7B && i >= 4;
        const int64_t wanted = doubled ? 2 * w->p->width : w->p->width;
        if (wanted != channels) sew_unit(w, wanted, 1);
        channels = wanted;
        sew_residual(w, channels);
        pool(w, SPEC_MAX_POOL2D, NULL, 2, 2, 0);
    }
    plain(w, SPEC_FLATTEN, NULL);
    close_list(w);
    linear(w, "out", w->p->classes, true);
}

/* ---- networks of the PSN paper --------------------------------------------------------------- */
/* One row of pixels: the paper's one-dimensional convolution and pool. */
static void flat_conv(struct writer *w)
{
    struct spec_layer l = next(w, SPEC_CONV1D, NULL);
    l.u.conv1d.out_channels = w->p->width;
    l.u.conv1d.kernel_size = 3;
    l.u.conv1d.padding = 1;
    l.u.conv1d.bias = false;
    l.u.conv1d.init = spec_preset_infos[w->p->kind].conv;
    put(w, &l);
}

static void flat_pool(struct writer *w)
{
    struct spec_layer l = next(w, SPEC_AVG_POOL2D, NULL);
    l.u.pool.kernel_size[0] = l.u.pool.stride[0] = 1;
    l.u.pool.kernel_size[1] = l.u.pool.stride[1] = 2;
    put(w, &l);
}

static void psn(struct writer *w)
{
    const bool flat = w->p->kind == PRESET_PSN_SEQUENTIAL_CIFAR;
    if (!open_list(w, "conv")) return;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++) {
            if (flat) flat_conv(w);
            else conv(w, NULL, w->p->width, 3, 1, false);
            norm(w, NULL);
            spikes(w, NULL);
        }
        if (flat) flat_pool(w);
        else pool(w, SPEC_AVG_POOL2D, NULL, 2, 2, 0);
    }
    close_list(w);
    if (!open_list(w, "fc")) return;
    plain(w, SPEC_FLATTEN, NULL);
    linear(w, NULL, w->p->width * (flat ? 8 : 64) / 4, true); /* a quarter of 8 or 8x8 pixels */
    spikes(w, NULL);
    linear(w, NULL, w->p->classes, true);
    close_list(w);
}

/* ---- the table ------------------------------------------------------------------------------- */
void spec_build_preset(struct spec_builder *b, const struct spec_preset *p)
{
    struct writer w = { .b = b, .p = p, .at = spec_build_begin(b->s) };
    switch ((enum spec_preset_kind)p->kind) {
    case PRESET_SEW_RESNET:
    case PRESET_SPIKING_RESNET: resnet(&w); break;
    case PRESET_SPIKING_VGG: vgg(&w); break;
    case PRESET_PLIF_MNIST:
    case PRESET_PLIF_FASHION_MNIST:
    case PRESET_PLIF_NMNIST: plif(&w, 2, 1, 2048); break;
    case PRESET_PLIF_CIFAR10: plif(&w, 2, 3, 2048); break;
    case PRESET_PLIF_CIFAR10_DVS: plif(&w, 4, 1, 512); break;
    case PRESET_PLIF_DVS_GESTURE: plif(&w, 5, 1, 512); break;
    case PRESET_SEW_7B:
    case PRESET_WIDE_7B: seven_blocks(&w); break;
    case PRESET_PSN_CIFAR10:
    case PRESET_PSN_SEQUENTIAL_CIFAR: psn(&w); break;
    case PRESET_COUNT: break;
    }
    for (size_t i = b->s->n_layers; i-- > 0;) { /* what is as wide as there are classes */
        struct spec_layer *l = &b->s->layers[i];
        if (l->type != SPEC_LINEAR && l->type != SPEC_VOTING) continue;
        l->blame = "classes";
        break;
    }
}
