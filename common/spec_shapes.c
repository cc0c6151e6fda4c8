/* spec_shapes: output shapes by pure arithmetic, and the datasets whose shape is known. The server
 * refuses a spec with it before anything runs; the worker builds nets with it. Any thread. */
#include "common/mem.h"
#include "common/spec.h"

#include <stdio.h>
#include <string.h>

static const struct spec_dataset_info datasets[] = {
    { "glyphs", { 1, 28, 28 }, 10, 8000, 2000, true,
      "generated: ten glyphs, bent, shifted, with strokes of noise", SPEC_DATA_IMAGES, 0 },
    { "cifar10", { 3, 32, 32 }, 10, 50000, 10000, false,
      "photographs of ten kinds of things (CIFAR binary files)", SPEC_DATA_IMAGES, 0 },
    { "cifar100", { 3, 32, 32 }, 100, 50000, 10000, false,
      "photographs of a hundred kinds of things (CIFAR binary files)", SPEC_DATA_IMAGES, 0 },
    { "n-mnist", { 2, 34, 34 }, 10, 60000, 10000, false,
      "events of a camera that moves before MNIST digits (.bin files, also in archives)",
      SPEC_DATA_EVENTS, 0 },
    { "dvs128-gesture", { 2, 128, 128 }, 11, 1176, 288, false,
      "events of hand gestures (AEDAT 3.1 and label files); users 1 to 23 train, 24 to 29 test",
      SPEC_DATA_EVENTS, 0 },
    { "cifar10-dvs", { 2, 128, 128 }, 10, 9000, 1000, false,
      "events of moved CIFAR-10 images (AEDAT 2.0); recordings 0 to 899 of a class train",
      SPEC_DATA_EVENTS, 0 },
    { "moving-glyphs", { 2, 28, 28 }, 10, 4000, 1000, true,
      "generated: events of a camera that sees a glyph move", SPEC_DATA_EVENTS, 0 },
    { "delayed-recall", { 10, 1, 1 }, 8, 6000, 1000, true,
      "generated: of two symbols, name the one that a later cue asks for", SPEC_DATA_SEQUENCES, 4 },
    { "mnist", { 1, 28, 28 }, 10, 60000, 10000, false, "handwritten digits (IDX files)",
      SPEC_DATA_IMAGES, 0 },
    { "fashion-mnist", { 1, 28, 28 }, 10, 60000, 10000, false, "pieces of clothing (IDX files)",
      SPEC_DATA_IMAGES, 0 },
};

const struct spec_dataset_info *spec_datasets(size_t *count)
{
    *count = sizeof datasets / sizeof datasets[0];
    return datasets;
}

const struct spec_dataset_info *spec_dataset_find(const char *name)
{
    for (size_t i = 0; i < sizeof datasets / sizeof datasets[0]; i++) {
        if (strcmp(datasets[i].name, name) == 0) return &datasets[i];
    }
    return NULL;
}

static int64_t features(struct spec_shape s) { return s.c * s.h * s.w; }

static int conv_extent(const char *axis, int64_t in, int64_t kernel, int64_t stride,
                       int64_t padding, int64_t dilation, int64_t *out, struct err *e)
{
    int64_t reach = dilation * (kernel - 1) + 1;
    if (in + 2 * padding < reach) {
        return err_set(e, ERR_SPEC, "kernel reaches %lld over a padded %s of %lld",
                       (long long)reach, axis, (long long)(in + 2 * padding));
    }
    *out = (in + 2 * padding - reach) / stride + 1;
    return 0;
}

static int conv_shape(const struct spec_conv2d *p, struct spec_shape in, struct spec_shape *out,
                      struct err *e)
{
    if (in.c % p->groups != 0 || p->out_channels % p->groups != 0) {
        return err_set(e, ERR_SPEC, "groups %lld must divide %lld input and %lld output channels",
                       (long long)p->groups, (long long)in.c, (long long)p->out_channels);
    }
    out->c = p->out_channels;
    int rc = conv_extent("height", in.h, p->kernel_size[0], p->stride[0], p->padding[0],
                         p->dilation[0], &out->h, e);
    if (rc != 0) return rc;
    return conv_extent("width", in.w, p->kernel_size[1], p->stride[1], p->padding[1],
                       p->dilation[1], &out->w, e);
}

struct spec_conv2d spec_conv_of(const struct spec_layer *l)
{
    if (l->type == SPEC_CONV2D) return l->u.conv2d;
    const struct spec_conv1d *p = &l->u.conv1d;
    return (struct spec_conv2d){ .out_channels = p->out_channels,
                                 .kernel_size = { 1, p->kernel_size },
                                 .stride = { 1, p->stride },
                                 .padding = { 0, p->padding },
                                 .dilation = { 1, p->dilation },
                                 .groups = p->groups,
                                 .bias = p->bias,
                                 .init = p->init };
}

static int conv1d_shape(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                        struct err *e)
{
    if (in.h != 1)
        return err_set(e, ERR_SPEC, "needs a height of 1, got an image of %lldx%lldx%lld",
                       (long long)in.c, (long long)in.h, (long long)in.w);
    const struct spec_conv2d p = spec_conv_of(l);
    return conv_shape(&p, in, out, e);
}

/* Outputs = (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1. */
static int transpose_extent(const struct spec_conv_transpose2d *p, int axis, int64_t in,
                            int64_t *out, struct err *e)
{
    const int64_t reach = p->dilation[axis] * (p->kernel_size[axis] - 1);
    if (p->padding[axis] > reach)
        return err_set(e, ERR_SPEC,
                       "padding %lld must be at most dilation * (kernel_size - 1), %lld",
                       (long long)p->padding[axis], (long long)reach);
    if (p->output_padding[axis] >= p->stride[axis])
        return err_set(e, ERR_SPEC, "output_padding %lld must be less than the stride %lld",
                       (long long)p->output_padding[axis], (long long)p->stride[axis]);
    *out = (in - 1) * p->stride[axis] - 2 * p->padding[axis] + reach + p->output_padding[axis] + 1;
    if (*out >= 1) return 0;
    return err_set(e, ERR_SPEC, "padding %lld leaves nothing of the output",
                   (long long)p->padding[axis]);
}

static int transpose_shape(const struct spec_conv_transpose2d *p, struct spec_shape in,
                           struct spec_shape *out, struct err *e)
{
    if (in.c % p->groups != 0 || p->out_channels % p->groups != 0)
        return err_set(e, ERR_SPEC, "groups %lld must divide %lld input and %lld output channels",
                       (long long)p->groups, (long long)in.c, (long long)p->out_channels);
    out->c = p->out_channels;
    const int rc = transpose_extent(p, 0, in.h, &out->h, e);
    return rc != 0 ? rc : transpose_extent(p, 1, in.w, &out->w, e);
}

static int pool_extent(const struct spec_pool2d *p, int axis, int64_t in, int64_t *out,
                       struct err *e)
{
    int64_t k = p->kernel_size[axis], stride = p->stride[axis] == 0 ? k : p->stride[axis];
    int64_t padded = in + 2 * p->padding[axis];
    const int64_t reach = p->dilation[axis] > 1 ? p->dilation[axis] * (k - 1) + 1 : k;
    if (2 * p->padding[axis] > k) {
        return err_set(e, ERR_SPEC, "padding %lld must be at most half the window %lld",
                       (long long)p->padding[axis], (long long)k);
    }
    if (padded < reach) {
        return err_set(e, ERR_SPEC, "window %lld does not fit a padded %s of %lld",
                       (long long)reach, axis == 0 ? "height" : "width", (long long)padded);
    }
    *out = (padded - reach + (p->ceil_mode ? stride - 1 : 0)) / stride + 1;
    /* PyTorch: the last window must begin inside the image or its left padding. */
    if (p->ceil_mode && (*out - 1) * stride >= in + p->padding[axis]) *out -= 1;
    return 0;
}

static int need_features(struct spec_shape in, struct err *e)
{
    if (in.h == 1 && in.w == 1) return 0;
    return err_set(e, ERR_SPEC, "needs features, got an image of %lldx%lldx%lld: flatten first",
                   (long long)in.c, (long long)in.h, (long long)in.w);
}

int spec_layer_shape(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                     struct err *e)
{
    struct spec_shape s = in;
    int rc = 0;
    switch (l->type) {
    case SPEC_CONV2D: rc = conv_shape(&l->u.conv2d, in, &s, e); break;
    case SPEC_CONV1D: rc = conv1d_shape(l, in, &s, e); break;
    case SPEC_CONV_TRANSPOSE2D: rc = transpose_shape(&l->u.conv_transpose2d, in, &s, e); break;
    case SPEC_MAX_POOL2D:
    case SPEC_AVG_POOL2D:
        rc = pool_extent(&l->u.pool, 0, in.h, &s.h, e);
        if (rc == 0) rc = pool_extent(&l->u.pool, 1, in.w, &s.w, e);
        break;
    case SPEC_ADAPTIVE_AVG_POOL2D:
        s.h = l->u.adaptive.output_size[0];
        s.w = l->u.adaptive.output_size[1];
        break;
    case SPEC_FLATTEN: s = (struct spec_shape){ features(in), 1, 1 }; break;
    case SPEC_LINEAR:
        rc = need_features(in, e);
        s.c = l->u.linear.out_features;
        break;
    case SPEC_RECURRENT:
        if (l->u.recurrent.connect == SPEC_ALL_TO_ALL) rc = need_features(in, e);
        break;
    case SPEC_VOTING:
        if (in.h != 1 || in.w != 1 || in.c % l->u.voting.size != 0) {
            return err_set(e, ERR_SPEC, "size %lld must divide the %lld features",
                           (long long)l->u.voting.size, (long long)features(in));
        }
        s.c = in.c / l->u.voting.size;
        break;
    case SPEC_UPSAMPLE:
        s.h *= l->u.upsample.scale_factor[0];
        s.w *= l->u.upsample.scale_factor[1];
        break;
    case SPEC_GROUP_NORM:
        if (in.c % l->u.group_norm.groups != 0)
            return err_set(e, ERR_SPEC, "groups %lld must divide the %lld channels",
                           (long long)l->u.group_norm.groups, (long long)in.c);
        break;
    case SPEC_CHANNEL_ATTENTION:
        if (l->u.attention.reduction > in.c)
            return err_set(e, ERR_SPEC, "reduction %lld leaves nothing of %lld channels",
                           (long long)l->u.attention.reduction, (long long)in.c);
        break;
    case SPEC_SPATIAL_ATTENTION:
        if (l->u.spatial_attention.kernel_size % 2 == 0)
            return err_set(e, ERR_SPEC, "kernel_size %lld must be odd",
                           (long long)l->u.spatial_attention.kernel_size);
        break;
    case SPEC_SYNAPSE_FILTER:
    case SPEC_TEMPORAL_ATTENTION: /* spec_shapes knows T */
    case SPEC_BATCH_NORM:
    case SPEC_THRESHOLD_BATCH_NORM:
    case SPEC_TEMPORAL_BATCH_NORM:
    case SPEC_NEURON:
    case SPEC_DROPOUT:
    case SPEC_RELU:
    case SPEC_RESIDUAL: /* the caller compares the branches */
    case SPEC_SEQUENTIAL:
    case SPEC_SEW_BLOCK:
    case SPEC_SPIKING_BLOCK:
    case SPEC_MULTI_DIMENSIONAL_ATTENTION:
    case SPEC_LAYER_TYPE_COUNT: break;
    }
    if (rc != 0) return rc;
    if (s.c > (1 << 24) || s.h > (1 << 16) || s.w > (1 << 16) || features(s) > (1 << 28)) {
        return err_set(e, ERR_SPEC, "output of %lldx%lldx%lld is too large", (long long)s.c,
                       (long long)s.h, (long long)s.w);
    }
    *out = s;
    return 0;
}

const struct spec_neuron *spec_layer_neuron(const struct spec_layer *l)
{
    return l->type == SPEC_NEURON ? &l->u.neuron : NULL;
}

static int64_t neuron_parameters(const struct spec_neuron *p, struct spec_shape in,
                                 int64_t time_steps)
{
    size_t n;
    const struct spec_neuron_model *m = &spec_neuron_models(&n)[p->model];
    if (strcmp(m->name, "sliding_psn") == 0) return (int64_t)spec_neuron_param(p, "k") + 1;
    if (!m->serial) return time_steps * (time_steps + 1); /* PSN: W [T][T] and b [T] */
    const bool shares = (m->traits & SPEC_SERIAL) != 0;
    const int64_t each = (m->traits >> 4 & 15) + (shares && p->learn_threshold) +
                         (m->traits >> 8 & 15) * time_steps;
    return each * (p->scope == SPEC_SCOPE_LAYER     ? 1
                   : p->scope == SPEC_SCOPE_CHANNEL ? in.c
                                                    : in.c * in.h * in.w);
}

int64_t spec_layer_parameters(const struct spec_layer *l, struct spec_shape in, int64_t time_steps)
{
    const struct spec_conv_transpose2d *up = &l->u.conv_transpose2d;
    switch (l->type) {
    case SPEC_CONV2D:
    case SPEC_CONV1D: {
        const struct spec_conv2d p = spec_conv_of(l);
        const int64_t taps = p.kernel_size[0] * p.kernel_size[1];
        return p.out_channels * (in.c / p.groups * taps + p.bias + p.weight_standardization);
    }
    case SPEC_CONV_TRANSPOSE2D:
        return in.c * (up->out_channels / up->groups) * up->kernel_size[0] * up->kernel_size[1] +
               (up->bias ? up->out_channels : 0);
    case SPEC_LINEAR: return l->u.linear.out_features * (in.c + l->u.linear.bias);
    case SPEC_BATCH_NORM:
    case SPEC_THRESHOLD_BATCH_NORM:
    case SPEC_GROUP_NORM: return 2 * in.c;
    case SPEC_TEMPORAL_BATCH_NORM: return 2 * in.c + time_steps;
    case SPEC_SYNAPSE_FILTER: return l->u.synapse_filter.learnable;
    case SPEC_TEMPORAL_ATTENTION:
        return 2 * time_steps * (time_steps / l->u.attention.reduction);
    case SPEC_SPATIAL_ATTENTION:
        return 2 * l->u.spatial_attention.kernel_size * l->u.spatial_attention.kernel_size;
    case SPEC_CHANNEL_ATTENTION: return 2 * in.c * (in.c / l->u.attention.reduction);
    case SPEC_NEURON: return neuron_parameters(&l->u.neuron, in, time_steps);
    case SPEC_RECURRENT:
        return l->u.recurrent.connect == SPEC_ALL_TO_ALL ? in.c * (in.c + l->u.recurrent.bias) : 0;
    default: return 0;
    }
}

/* ---- the walk -------------------------------------------------------------------------------- */
/* Output of a layer; features that are a flattened image keep its memory order until a layer mixes
 * them, so two branches can only meet when they are the same image. */
struct walk {
    struct spec_shape shape, image; /* image: before flatten */
    bool flat;
};

static bool same_shape(struct spec_shape a, struct spec_shape b)
{
    return a.c == b.c && a.h == b.h && a.w == b.w;
}

static bool needs_image(const struct spec_layer *l)
{
    return l->type == SPEC_CONV2D || l->type == SPEC_MAX_POOL2D || l->type == SPEC_AVG_POOL2D ||
           l->type == SPEC_CONV1D || l->type == SPEC_CONV_TRANSPOSE2D ||
           l->type == SPEC_SYNAPSE_FILTER || l->type == SPEC_TEMPORAL_ATTENTION ||
           l->type == SPEC_CHANNEL_ATTENTION || l->type == SPEC_SPATIAL_ATTENTION ||
           l->type == SPEC_ADAPTIVE_AVG_POOL2D || l->type == SPEC_UPSAMPLE ||
           l->type == SPEC_GROUP_NORM || l->type == SPEC_TEMPORAL_BATCH_NORM;
}

static int meet(const struct walk *body, const struct walk *shortcut, struct err *e)
{
    const struct spec_shape a = body->shape, b = shortcut->shape;
    if (!same_shape(a, b))
        return err_set(e, ERR_SPEC, "the body gives %lldx%lldx%lld, the shortcut %lldx%lldx%lld",
                       (long long)a.c, (long long)a.h, (long long)a.w, (long long)b.c,
                       (long long)b.h, (long long)b.w);
    if (body->flat == shortcut->flat && (!body->flat || same_shape(body->image, shortcut->image)))
        return 0;
    return err_set(e, ERR_SPEC, "only one of the branches is a flattened image");
}

/* Output of layer l for its first input; flat as said above. */
static int walk_layer(const struct spec_layer *l, const struct walk *in, struct walk *out,
                      struct err *e)
{
    const bool image = in->shape.h * in->shape.w > 1;
    if (in->flat && needs_image(l))
        return err_set(e, ERR_SPEC, "%s cannot follow flatten", spec_layer_type_name(l->type));
    *out = *in;
    if (l->type == SPEC_FLATTEN && image) {
        out->flat = true;
        out->image = in->shape;
    }
    const bool mixes = l->type == SPEC_LINEAR || l->type == SPEC_VOTING ||
                       (l->type == SPEC_RECURRENT && l->u.recurrent.connect == SPEC_ALL_TO_ALL);
    if (mixes) out->flat = false;
    return spec_layer_shape(l, in->shape, &out->shape, e);
}

/* What layer i gives to the recurrent layers whose body ends with it. */
static int comes_back(const struct spec *s, const struct walk *walks, size_t i, struct err *e)
{
    for (size_t j = 0; j < i; j++) {
        const struct spec_layer *l = &s->layers[j];
        if (l->type != SPEC_RECURRENT || j + l->u.recurrent.body != i) continue;
        const struct spec_shape in = walks[j].shape, out = walks[i].shape;
        const bool element_wise = l->u.recurrent.connect == SPEC_ELEMENT_WISE;
        if (element_wise ? same_shape(in, out) : out.h * out.w == 1) {
            if (!element_wise || walks[i].flat == walks[j].flat) continue;
            return err_set(e, ERR_SPEC, "only one of input and body is a flattened image");
        }
        return err_set(e, ERR_SPEC, "the body gives %lldx%lldx%lld, which cannot come back to %s",
                       (long long)out.c, (long long)out.h, (long long)out.w,
                       element_wise ? "an input of another shape" : "features: flatten it");
    }
    return 0;
}

static bool walk_all(const struct spec *s, struct spec_shape in, struct walk *walks,
                     struct json_faults *faults)
{
    const struct walk start = { .shape = in };
    for (size_t i = 0; i < s->n_layers; i++) {
        const struct spec_layer *l = &s->layers[i];
        const struct walk *from[SPEC_INPUTS_MAX];
        struct err e = { 0 };
        for (size_t k = 0; k < SPEC_INPUTS_MAX; k++) {
            const size_t input = k < l->n_inputs || k == 0 ? spec_layer_input(s->layers, i, k)
                                                           : SPEC_INPUT;
            from[k] = input == SPEC_INPUT ? &start : &walks[input];
        }
        int rc = walk_layer(l, from[0], &walks[i], &e);
        if (rc == 0 && l->type == SPEC_TEMPORAL_ATTENTION &&
            l->u.attention.reduction > s->time_steps)
            rc = err_set(&e, ERR_SPEC, "reduction %lld leaves nothing of %lld time-steps",
                         (long long)l->u.attention.reduction, (long long)s->time_steps);
        if (rc == 0 && l->type == SPEC_RESIDUAL) rc = meet(from[0], from[1], &e);
        if (rc == 0) rc = comes_back(s, walks, i, &e);
        if (rc == 0) continue;
        json_fault_add(faults, l->pointer, "bad_shape", "%s", e.text);
        return false;
    }
    return true;
}

bool spec_shapes(const struct spec *s, struct spec_shape in, int64_t classes,
                 struct spec_shape *shapes, struct json_faults *faults)
{
    struct walk *walks = mem_calloc(s->n_layers + 1, sizeof walks[0]);
    if (walks == NULL) return false;
    const bool fits = walk_all(s, in, walks, faults);
    const struct spec_shape last = fits && s->n_layers > 0 ? walks[s->n_layers - 1].shape : in;
    for (size_t i = 0; shapes != NULL && i < s->n_layers; i++) shapes[i] = walks[i].shape;
    if (fits && s->n_layers > 0 && (last.c != classes || last.h != 1 || last.w != 1))
        json_fault_add(faults, s->layers[s->n_layers - 1].pointer, "bad_shape",
                       "the last output is %lldx%lldx%lld, not %lld classes", (long long)last.c,
                       (long long)last.h, (long long)last.w, (long long)classes);
    mem_free(walks);
    return true;
}

bool spec_glob(const char *glob, const char *path)
{
    const char *star = NULL, *resume = NULL;
    while (*path != '\0') {
        if (*glob == '*') {
            star = ++glob;
            resume = path;
        } else if (*glob == '?' || *glob == *path) {
            glob++;
            path++;
        } else if (star != NULL) {
            glob = star;
            path = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*') glob++;
    return *glob == '\0';
}
