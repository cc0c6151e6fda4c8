/* spec_shapes: output shapes of a whole network, and the datasets whose shape is known. The server
 * refuses a spec with it before anything runs; the worker builds nets with it. Any thread. */
#include "common/mem.h"
#include "common/spec_misfits.h"

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

/* ---- the walk -------------------------------------------------------------------------------- */
/* Output of a layer; features that are a flattened image keep its memory order until a layer mixes
 * them, so two branches can only meet when they are the same image. */
struct walk {
    struct spec_shape shape, image; /* image: before flatten */
    bool flat;
    bool known; /* false behind a fault that leaves no shape */
};

static bool same_shape(struct spec_shape a, struct spec_shape b)
{
    return a.c == b.c && a.h == b.h && a.w == b.w;
}

/* Of the layers that need an image, those that give its shape back. */
static bool keeps_image(const struct spec_layer *l)
{
    return l->type == SPEC_SYNAPSE_FILTER || l->type == SPEC_TEMPORAL_ATTENTION ||
           l->type == SPEC_CHANNEL_ATTENTION || l->type == SPEC_SPATIAL_ATTENTION ||
           l->type == SPEC_GROUP_NORM || l->type == SPEC_TEMPORAL_BATCH_NORM;
}

static bool needs_image(const struct spec_layer *l)
{
    return keeps_image(l) || l->type == SPEC_CONV2D || l->type == SPEC_MAX_POOL2D ||
           l->type == SPEC_AVG_POOL2D || l->type == SPEC_CONV1D ||
           l->type == SPEC_CONV_TRANSPOSE2D || l->type == SPEC_ADAPTIVE_AVG_POOL2D ||
           l->type == SPEC_UPSAMPLE;
}

static void meet(const struct walk *body, const struct walk *shortcut, struct walk *out,
                 const struct spec_layer *l, struct spec_misfits *m)
{
    const struct spec_shape a = body->shape, b = shortcut->shape;
    *out = body->known ? *body : *shortcut;
    if (!body->known || !shortcut->known) return;
    const char *field = l->blame; /* of a block: its downsample */
    if (!same_shape(a, b))
        spec_misfit(m, field, "the body gives %lldx%lldx%lld, the shortcut %lldx%lldx%lld",
                    (long long)a.c, (long long)a.h, (long long)a.w, (long long)b.c, (long long)b.h,
                    (long long)b.w);
    else if (body->flat != shortcut->flat || (body->flat && !same_shape(body->image,
                                                                        shortcut->image)))
        spec_misfit(m, NULL, "only one of the branches is a flattened image");
}

/* Output of layer l for its first input; flat as said above. */
static void walk_layer(const struct spec_layer *l, const struct walk *in, struct walk *out,
                       struct spec_misfits *m)
{
    *out = *in;
    const bool image = in->shape.h * in->shape.w > 1, linear = l->type == SPEC_LINEAR;
    out->known = (in->known || linear) && (!l->unread || l->type == SPEC_NEURON);
    if (!out->known) return;
    if (!in->known) { /* whatever came in */
        *out = (struct walk){ .shape = { l->u.linear.out_features, 1, 1 }, .known = true };
        return;
    }
    if (in->flat && needs_image(l)) {
        spec_misfit(m, NULL, "%s cannot follow flatten: put it before flatten",
                    spec_layer_type_name(l->type));
        out->known = keeps_image(l);
        return;
    }
    if (l->type == SPEC_FLATTEN && image) {
        out->flat = true;
        out->image = in->shape;
    }
    const bool mixes = linear || l->type == SPEC_VOTING ||
                       (l->type == SPEC_RECURRENT && l->u.recurrent.connect == SPEC_ALL_TO_ALL);
    if (mixes) out->flat = false;
    spec_layer_fit(l, in->shape, &out->shape, m);
    out->known = !m->lost;
}

/* What layer i gives to the recurrent layers whose body ends with it. */
static void comes_back(const struct spec *s, const struct walk *walks, size_t i,
                       struct spec_misfits *m)
{
    for (size_t j = 0; j < i; j++) {
        const struct spec_layer *l = &s->layers[j];
        if (l->type != SPEC_RECURRENT || j + l->u.recurrent.body != i) continue;
        if (!walks[i].known || !walks[j].known) continue;
        const struct spec_shape in = walks[j].shape, out = walks[i].shape;
        const bool element_wise = l->u.recurrent.connect == SPEC_ELEMENT_WISE;
        if (element_wise ? same_shape(in, out) : out.h * out.w == 1) {
            if (!element_wise || walks[i].flat == walks[j].flat) continue;
            spec_misfit(m, NULL, "only one of input and body is a flattened image");
        } else {
            spec_misfit(m, NULL, "the body gives %lldx%lldx%lld, which cannot come back to %s",
                        (long long)out.c, (long long)out.h, (long long)out.w,
                        element_wise ? "an input of another shape" : "features: flatten it");
        }
    }
}

static void walk_all(const struct spec *s, struct spec_shape in, struct walk *walks,
                     struct json_faults *faults)
{
    const struct walk start = { .shape = in, .known = true };
    const bool steps_known = !json_fault_at(faults, "/time_steps");
    for (size_t i = 0; i < s->n_layers; i++) {
        const struct spec_layer *l = &s->layers[i];
        const struct walk *from[SPEC_INPUTS_MAX];
        struct spec_misfits m = { .n = 0 };
        for (size_t k = 0; k < SPEC_INPUTS_MAX; k++) {
            const size_t input = k < l->n_inputs || k == 0 ? spec_layer_input(s->layers, i, k)
                                                           : SPEC_INPUT;
            from[k] = input == SPEC_INPUT ? &start : &walks[input];
        }
        if (l->type == SPEC_RESIDUAL) meet(from[0], from[1], &walks[i], l, &m);
        else walk_layer(l, from[0], &walks[i], &m);
        if (l->type == SPEC_TEMPORAL_ATTENTION && steps_known && m.n == 0 && !l->unread &&
            l->u.attention.reduction > s->time_steps)
            spec_misfit(&m, "reduction", "must be at most the %lld time-steps, got %lld",
                        (long long)s->time_steps, (long long)l->u.attention.reduction);
        comes_back(s, walks, i, &m);
        spec_report_misfits(l, &m, faults);
    }
}

/* ---- the last output ------------------------------------------------------------------------- */
/* The field that says how wide a layer's output is; NULL: as wide as its input. */
static const char *width_field(enum spec_layer_type t)
{
    switch (t) {
    case SPEC_LINEAR: return "out_features";
    case SPEC_VOTING: return "size";
    case SPEC_CONV2D:
    case SPEC_CONV1D:
    case SPEC_CONV_TRANSPOSE2D: return "out_channels";
    default: return NULL;
    }
}

static void check_classes(const struct spec *s, const struct walk *walks, int64_t classes,
                          struct json_faults *faults)
{
    const struct walk *last = &walks[s->n_layers - 1];
    const struct spec_shape got = last->shape;
    if (!last->known || (got.c == classes && got.h == 1 && got.w == 1)) return;
    size_t i = s->n_layers - 1;
    while (width_field(s->layers[i].type) == NULL && s->layers[i].type != SPEC_FLATTEN) {
        if (spec_layer_input(s->layers, i, 0) == SPEC_INPUT) break;
        i = spec_layer_input(s->layers, i, 0);
    }
    struct spec_misfits m = { .n = 0 };
    const struct spec_layer *l = &s->layers[i];
    const char *field = width_field(l->type);
    if (got.h == 1 && got.w == 1 && field != NULL) {
        if (l->type == SPEC_VOTING && l->blame == NULL)
            spec_misfit(&m, field, "must leave the %lld classes of the dataset, leaves %lld with "
                                   "%lld", (long long)classes, (long long)got.c,
                        (long long)l->u.voting.size);
        else
            spec_misfit(&m, field, "must be the %lld classes of the dataset, got %lld",
                        (long long)classes, (long long)got.c);
    } else {
        l = &s->layers[s->n_layers - 1];
        spec_misfit(&m, NULL, "the last output is %lldx%lldx%lld, not %lld classes: end with "
                              "flatten and a linear layer of %lld out_features",
                    (long long)got.c, (long long)got.h, (long long)got.w, (long long)classes,
                    (long long)classes);
    }
    spec_report_misfits(l, &m, faults);
}

bool spec_shapes(const struct spec *s, struct spec_shape in, int64_t classes,
                 struct spec_shape *shapes, struct json_faults *faults)
{
    struct walk *walks = mem_calloc(s->n_layers + 1, sizeof walks[0]);
    if (walks == NULL) return false;
    walk_all(s, in, walks, faults);
    for (size_t i = 0; shapes != NULL && i < s->n_layers; i++) shapes[i] = walks[i].shape;
    if (s->n_layers > 0) check_classes(s, walks, classes, faults);
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
