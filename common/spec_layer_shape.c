/* spec_layer_shape: output shape of one layer by pure arithmetic, and what of it does not fit. See
 * spec_misfits.h. */
#include "common/spec_misfits.h"
#include "common/spec_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DIVISORS_SHOWN 8

void spec_misfit(struct spec_misfits *m, const char *field, const char *fmt, ...)
{
    for (size_t i = 0; i < m->n; i++) {
        const char *known = m->items[i].field;
        if (known == field || (known != NULL && field != NULL && strcmp(known, field) == 0)) return;
    }
    if (m->n == SPEC_MISFITS_MAX) return;
    struct spec_misfit *to = &m->items[m->n++];
    to->field = field;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(to->text, sizeof to->text, fmt, args);
    va_end(args);
}

static void lose(struct spec_misfits *m) { m->lost = true; }

void spec_report_misfits(const struct spec_layer *l, const struct spec_misfits *m,
                         struct json_faults *faults)
{
    /* Fields of a preset's layers are not those of the spec. */
    const bool preset = strcmp(l->pointer, "/network") == 0;
    for (size_t i = 0; i < m->n; i++) {
        char here[200];
        const char *text = m->items[i].text, *own = m->items[i].field;
        const char *field = own != NULL && l->blame != NULL ? l->blame : own;
        if (preset && (field == NULL || field != l->blame)) {
            if (!json_fault_at(faults, "/network/preset"))
                json_fault_add(faults, "/network/preset", "bad_shape", "layer %s: %s%s%s", l->path,
                               own != NULL ? own : "", own != NULL ? " " : "", text);
            continue;
        }
        if (field != NULL) spec_pointer(here, sizeof here, l->pointer, field);
        const char *where = field != NULL ? here : l->pointer;
        if (!json_fault_at(faults, where))
            json_fault_add(faults, where, "bad_shape", "%s", text);
    }
}

/* ---- what is allowed ------------------------------------------------------------------------- */
static int64_t features(struct spec_shape s) { return s.c * s.h * s.w; }

/* Numbers that divide both, "1, 2, 4". */
struct divisors {
    char text[80];
};
static struct divisors divisors_of(int64_t a, int64_t b)
{
    struct divisors d = { "" };
    size_t at = 0, n = 0;
    for (int64_t i = 1; i <= a && i <= b; i++) {
        if (a % i != 0 || b % i != 0) continue;
        const bool more = ++n > DIVISORS_SHOWN;
        at += (size_t)snprintf(d.text + at, sizeof d.text - at, more ? ", ..." : "%s%lld",
                               n > 1 ? ", " : "", (long long)i);
        if (more) break;
    }
    return d;
}

static void need_divisor(const char *field, int64_t value, int64_t n, const char *of,
                         struct spec_misfits *m)
{
    if (n % value == 0) return;
    spec_misfit(m, field, "must divide the %lld %s (%s), got %lld", (long long)n, of,
                divisors_of(n, n).text, (long long)value);
}

static void need_at_most(const char *field, int64_t value, int64_t n, const char *of,
                         struct spec_misfits *m)
{
    if (value <= n) return;
    spec_misfit(m, field, "must be at most the %lld %s, got %lld", (long long)n, of,
                (long long)value);
}

static void need_odd(const char *field, int64_t value, struct spec_misfits *m)
{
    if (value % 2 != 0) return;
    spec_misfit(m, field, "must be odd, got %lld: %lld or %lld", (long long)value,
                (long long)(value - 1), (long long)(value + 1));
}

/* ---- convolutions ---------------------------------------------------------------------------- */
static void conv_rules(int64_t groups, int64_t out_channels, struct spec_misfits *m)
{
    need_divisor("groups", groups, out_channels, "out_channels", m);
}

static void need_groups(int64_t groups, int64_t in, int64_t out, struct spec_misfits *m)
{
    if (in % groups == 0) return;
    spec_misfit(m, "groups", "must divide %lld input and %lld output channels (%s), got %lld",
                (long long)in, (long long)out, divisors_of(in, out).text, (long long)groups);
}

/* Taps `dilation` apart over in + 2 * padding; how many windows fit. */
static int64_t extent(const char *axis, int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                      int64_t dilation, struct spec_misfits *m)
{
    const int64_t reach = dilation * (kernel - 1) + 1, padded = in + 2 * padding;
    if (padded >= reach) return (padded - reach) / stride + 1;
    spec_misfit(m, "kernel_size",
                "must be at most %lld, got %lld: it reaches %lld over a padded %s of %lld",
                (long long)((padded - 1) / dilation + 1), (long long)kernel, (long long)reach, axis,
                (long long)padded);
    lose(m);
    return 0;
}

static void conv_fit(const struct spec_conv2d *p, struct spec_shape in, struct spec_shape *out,
                     struct spec_misfits *m)
{
    need_groups(p->groups, in.c, p->out_channels, m);
    out->c = p->out_channels;
    out->h = extent("height", in.h, p->kernel_size[0], p->stride[0], p->padding[0], p->dilation[0],
                    m);
    out->w = extent("width", in.w, p->kernel_size[1], p->stride[1], p->padding[1], p->dilation[1],
                    m);
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

static void conv1d_fit(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                       struct spec_misfits *m)
{
    if (in.h != 1) {
        spec_misfit(m, NULL, "conv1d needs a height of 1, got an image of %lldx%lldx%lld",
                    (long long)in.c, (long long)in.h, (long long)in.w);
        lose(m);
        return;
    }
    const struct spec_conv2d p = spec_conv_of(l);
    conv_fit(&p, in, out, m);
}

static int64_t transpose_reach(const struct spec_conv_transpose2d *p, int axis)
{
    return p->dilation[axis] * (p->kernel_size[axis] - 1);
}

static void transpose_rules(const struct spec_conv_transpose2d *p, struct spec_misfits *m)
{
    conv_rules(p->groups, p->out_channels, m);
    for (int axis = 0; axis < 2; axis++) {
        const int64_t reach = transpose_reach(p, axis);
        if (p->padding[axis] > reach) {
            spec_misfit(m, "padding",
                        "must be at most dilation * (kernel_size - 1), %lld, got %lld",
                        (long long)reach, (long long)p->padding[axis]);
            lose(m);
        }
        if (p->output_padding[axis] >= p->stride[axis])
            spec_misfit(m, "output_padding", "must be less than the stride, %lld, got %lld",
                        (long long)p->stride[axis], (long long)p->output_padding[axis]);
    }
}

/* Outputs = (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1. */
static int64_t transpose_extent(const struct spec_conv_transpose2d *p, int axis, int64_t in,
                                struct spec_misfits *m)
{
    const int64_t whole = (in - 1) * p->stride[axis] + transpose_reach(p, axis) +
                          p->output_padding[axis];
    const int64_t out = whole - 2 * p->padding[axis] + 1;
    if (out >= 1) return out;
    spec_misfit(m, "padding", "must be at most %lld, got %lld: it leaves nothing of the %s",
                (long long)(whole / 2), (long long)p->padding[axis],
                axis == 0 ? "height" : "width");
    lose(m);
    return 0;
}

static void transpose_fit(const struct spec_conv_transpose2d *p, struct spec_shape in,
                          struct spec_shape *out, struct spec_misfits *m)
{
    need_groups(p->groups, in.c, p->out_channels, m);
    out->c = p->out_channels;
    out->h = transpose_extent(p, 0, in.h, m);
    out->w = transpose_extent(p, 1, in.w, m);
}

/* ---- pooling --------------------------------------------------------------------------------- */
static void pool_rules(const struct spec_pool2d *p, struct spec_misfits *m)
{
    for (int axis = 0; axis < 2; axis++) {
        const int64_t most = p->kernel_size[axis] / 2;
        if (p->padding[axis] <= most) continue;
        spec_misfit(m, "padding", "must be at most half the window, %lld, got %lld",
                    (long long)most, (long long)p->padding[axis]);
        lose(m);
    }
}

static int64_t pool_extent(const struct spec_pool2d *p, int axis, int64_t in,
                           struct spec_misfits *m)
{
    const int64_t k = p->kernel_size[axis], stride = p->stride[axis] == 0 ? k : p->stride[axis];
    const int64_t padding = p->padding[axis];
    const int64_t dilation = p->dilation[axis] > 1 ? p->dilation[axis] : 1;
    const int64_t up = p->ceil_mode ? stride - 1 : 0, reach = dilation * (k - 1) + 1;
    int64_t out = extent(axis == 0 ? "height" : "width", in, k, stride, padding, dilation, m);
    if (out == 0) return 0;
    out = (in + 2 * padding - reach + up) / stride + 1;
    /* PyTorch: the last window must begin inside the image or its left padding. */
    return p->ceil_mode && (out - 1) * stride >= in + padding ? out - 1 : out;
}

/* ---- any layer ------------------------------------------------------------------------------- */
static bool need_features(const struct spec_layer *l, struct spec_shape in, struct spec_misfits *m)
{
    if (in.h == 1 && in.w == 1) return true;
    spec_misfit(m, NULL, "%s needs features, got an image of %lldx%lldx%lld: flatten first",
                spec_layer_type_name(l->type), (long long)in.c, (long long)in.h, (long long)in.w);
    return false;
}

static void voting_fit(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                       struct spec_misfits *m)
{
    const size_t before = m->n;
    if (need_features(l, in, m)) need_divisor("size", l->u.voting.size, in.c, "features", m);
    if (m->n > before) lose(m);
    out->c = in.c / l->u.voting.size;
}

static void too_large(const struct spec_layer *l, struct spec_shape s, struct spec_misfits *m)
{
    const char *field = l->type == SPEC_UPSAMPLE              ? "scale_factor"
                        : l->type == SPEC_ADAPTIVE_AVG_POOL2D ? "output_size"
                        : l->type == SPEC_CONV2D || l->type == SPEC_CONV1D ||
                                l->type == SPEC_CONV_TRANSPOSE2D
                            ? "out_channels"
                            : NULL;
    spec_misfit(m, field, "output of %lldx%lldx%lld is too large: at most %dx%dx%d, %d in all",
                (long long)s.c, (long long)s.h, (long long)s.w, 1 << 24, 1 << 16, 1 << 16, 1 << 28);
    lose(m);
}

void spec_layer_rules(const struct spec_layer *l, struct spec_misfits *m)
{
    switch (l->type) {
    case SPEC_CONV2D: conv_rules(l->u.conv2d.groups, l->u.conv2d.out_channels, m); break;
    case SPEC_CONV1D: conv_rules(l->u.conv1d.groups, l->u.conv1d.out_channels, m); break;
    case SPEC_CONV_TRANSPOSE2D: transpose_rules(&l->u.conv_transpose2d, m); break;
    case SPEC_MAX_POOL2D:
    case SPEC_AVG_POOL2D: pool_rules(&l->u.pool, m); break;
    case SPEC_SPATIAL_ATTENTION:
        need_odd("kernel_size", l->u.spatial_attention.kernel_size, m);
        break;
    case SPEC_MULTI_DIMENSIONAL_ATTENTION:
        if (l->u.multi_attention.spatial)
            need_odd("kernel_size", l->u.multi_attention.kernel_size, m);
        break;
    default: break;
    }
}

void spec_layer_fit(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                    struct spec_misfits *m)
{
    struct spec_shape s = in;
    switch (l->type) {
    case SPEC_CONV2D: conv_fit(&l->u.conv2d, in, &s, m); break;
    case SPEC_CONV1D: conv1d_fit(l, in, &s, m); break;
    case SPEC_CONV_TRANSPOSE2D: transpose_fit(&l->u.conv_transpose2d, in, &s, m); break;
    case SPEC_MAX_POOL2D:
    case SPEC_AVG_POOL2D:
        s.h = pool_extent(&l->u.pool, 0, in.h, m);
        s.w = pool_extent(&l->u.pool, 1, in.w, m);
        break;
    case SPEC_ADAPTIVE_AVG_POOL2D:
        s.h = l->u.adaptive.output_size[0];
        s.w = l->u.adaptive.output_size[1];
        break;
    case SPEC_FLATTEN: s = (struct spec_shape){ features(in), 1, 1 }; break;
    case SPEC_LINEAR:
        (void)need_features(l, in, m);
        s = (struct spec_shape){ l->u.linear.out_features, 1, 1 };
        break;
    case SPEC_RECURRENT:
        if (l->u.recurrent.connect == SPEC_ALL_TO_ALL && !need_features(l, in, m)) lose(m);
        break;
    case SPEC_VOTING: voting_fit(l, in, &s, m); break;
    case SPEC_UPSAMPLE:
        s.h *= l->u.upsample.scale_factor[0];
        s.w *= l->u.upsample.scale_factor[1];
        break;
    case SPEC_GROUP_NORM:
        need_divisor("groups", l->u.group_norm.groups, in.c, "channels", m);
        break;
    case SPEC_CHANNEL_ATTENTION:
        need_at_most("reduction", l->u.attention.reduction, in.c, "channels", m);
        break;
    default: break; /* as it came; of temporal_attention the walk knows T */
    }
    if (s.c > (1 << 24) || s.h > (1 << 16) || s.w > (1 << 16) || features(s) > (1 << 28))
        too_large(l, s, m);
    *out = s;
}

int spec_layer_shape(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                     struct err *e)
{
    struct spec_misfits m = { .n = 0 };
    struct spec_shape s;
    spec_layer_rules(l, &m);
    spec_layer_fit(l, in, &s, &m);
    if (m.n == 0) {
        *out = s;
        return 0;
    }
    const struct spec_misfit *first = &m.items[0];
    return err_set(e, ERR_SPEC, "%s%s%s", first->field != NULL ? first->field : "",
                   first->field != NULL ? " " : "", first->text);
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
    if ((m->traits & SPEC_WINDOW) != 0) return (int64_t)spec_neuron_param(p, "k") + 1;
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
