/* spec_presets: the table of presets and what is read of them. See spec_presets.h. */
#include "common/spec_presets.h"

#include <string.h>

#define LENGTH(a) (sizeof(a) / sizeof(a)[0])
#define P(member) offsetof(struct spec_preset, member)

/* ---- the table ------------------------------------------------------------------------------- */
static const struct spec_field common_fields[] = {
    { "classes", FIELD_INT, SPEC_RESULT, P(classes), 0, 0, 65536,
      .meaning = "outputs; 0 = the dataset's classes" },
};
#define WIDTH(channels)                                                                            \
    { "width", FIELD_INT, SPEC_RESULT, P(width), channels, 1, 4096,                                \
      .meaning = "channels of the first convolution" }
#define RESNET_FIELDS                                                                    \
    { "depth",     FIELD_INT,                                                            \
      SPEC_RESULT, P(depth),                                                             \
      18,          18,                                                                   \
      152,         .meaning = "18, 34 (basic blocks), 50, 101 or 152 (bottlenecks)" },   \
        { "stem",                                                                        \
          FIELD_CHOICE,                                                                  \
          SPEC_RESULT,                                                                   \
          P(stem),                                                                       \
          SPEC_STEM_IMAGENET,                                                            \
          .choices = "imagenet|cifar",                                                   \
          .meaning = "7x7 stride 2 and a maximum pool; or 3x3 alone for small images" }, \
        { "zero_init_residual",                                                          \
          FIELD_BOOL,                                                                    \
          SPEC_RESULT,                                                                   \
          P(zero_init),                                                                  \
          0,                                                                             \
          .meaning = "every block begins as its shortcut: its zero_init" },              \
        WIDTH(64)
#define CONNECT                                                                                    \
    { "connect", FIELD_CHOICE, SPEC_RESULT, P(connect), SPEC_ADD,                                  \
      .choices = "add|and|iand|iand_swapped", .meaning = "see residual" }
static const struct spec_field sew_fields[] = { RESNET_FIELDS, CONNECT };
static const struct spec_field spiking_fields[] = { RESNET_FIELDS };
static const struct spec_field vgg_fields[] = {
    { "depth", FIELD_INT, SPEC_RESULT, P(depth), 11, 11, 19, .meaning = "11, 13, 16 or 19" },
    { "batch_norm", FIELD_BOOL, SPEC_RESULT, P(batch_norm), 1,
      .meaning = "after every convolution" },
    WIDTH(64),
};
#define BIAS                                                                                       \
    { "bias", FIELD_BOOL, SPEC_RESULT, P(bias), 1,                                                 \
      .meaning = "of the linear layers; the authors' own code has none" }
static const struct spec_field plif_fields[] = { WIDTH(128), BIAS };
static const struct spec_field plif_cifar_fields[] = { WIDTH(256), BIAS };
static const struct spec_field sew_7b_fields[] = { WIDTH(32), CONNECT };
static const struct spec_field wide_7b_fields[] = { WIDTH(64), CONNECT };
static const struct spec_field psn_cifar_fields[] = { WIDTH(256) };
static const struct spec_field psn_sequential_fields[] = { WIDTH(128) };
#define ROW(name, fields, meaning) { name, fields, LENGTH(fields), meaning }
static const struct spec_variant variants[PRESET_COUNT] = {
    [PRESET_SEW_RESNET] = ROW("sew_resnet", sew_fields, "SEW ResNet (Fang et al., 2021)"),
    [PRESET_SPIKING_RESNET] = ROW("spiking_resnet", spiking_fields, "ResNet that fires after sums"),
    [PRESET_SPIKING_VGG] = ROW("spiking_vgg", vgg_fields, "VGG with neurons for ReLU"),
    [PRESET_PLIF_MNIST] = ROW("plif_mnist", plif_fields, "PLIF network for MNIST (Fang et al., "
                              "2021), 28x28"),
    [PRESET_PLIF_FASHION_MNIST] = ROW("plif_fashion_mnist", plif_fields,
                                      "the same network, for Fashion-MNIST"),
    [PRESET_PLIF_NMNIST] = ROW("plif_nmnist", plif_fields, "PLIF network for N-MNIST, 34x34"),
    [PRESET_PLIF_CIFAR10] = ROW("plif_cifar10", plif_cifar_fields,
                                "PLIF network for CIFAR-10, 32x32"),
    [PRESET_PLIF_CIFAR10_DVS] = ROW("plif_cifar10_dvs", plif_fields,
                                    "PLIF network for CIFAR10-DVS, 128x128"),
    [PRESET_PLIF_DVS_GESTURE] = ROW("plif_dvs_gesture", plif_fields,
                                    "PLIF network for DVS128 Gesture, 128x128"),
    [PRESET_SEW_7B] = ROW("sew_7b", sew_7b_fields, "7B-Net of the SEW paper, DVS128 Gesture, "
                          "128x128"),
    [PRESET_WIDE_7B] = ROW("wide_7b", wide_7b_fields, "Wide-7B-Net of the SEW paper, CIFAR10-DVS, "
                           "128x128"),
    [PRESET_PSN_CIFAR10] = ROW("psn_cifar10", psn_cifar_fields, "network of the PSN paper (Fang "
                               "et al., 2023) for CIFAR-10, 32x32"),
    [PRESET_PSN_SEQUENTIAL_CIFAR] = ROW("psn_sequential_cifar", psn_sequential_fields,
                                        "the PSN paper's for CIFAR read column by column: 32 "
                                        "steps of 3 channels, 1x32"),
};
const struct spec_object spec_object_preset = {
    "preset", "preset", P(kind), -1, variants, LENGTH(variants), common_fields,
    LENGTH(common_fields)
};

#define RESNET_PATHS "`conv1`, `bn1`, `sn1`, `layer1.0.conv1`, `layer2.0.downsample.0`, `fc`"
#define PLIF_PATHS "`conv_fc.0`, `conv_fc.1`, ..."
#define SEW_N_PATHS "`conv.0.0.0`, `conv.0.0.1`, `conv.0.1`, `conv.1.conv.0.0.0`, ..., `out`"
const struct spec_preset_info spec_preset_infos[PRESET_COUNT] = {
    [PRESET_SEW_RESNET] = { "`sew_resnet.SEWResNet`", RESNET_PATHS, "if",
                            SPEC_INIT_KAIMING_NORMAL },
    [PRESET_SPIKING_RESNET] = { "`spiking_resnet.SpikingResNet`", RESNET_PATHS, "if",
                                SPEC_INIT_KAIMING_NORMAL },
    [PRESET_SPIKING_VGG] = { "`spiking_vgg.SpikingVGG`", "`features.0`, ..., `classifier.0`, ...",
                             "if", SPEC_INIT_KAIMING_NORMAL, SPEC_INIT_SMALL_NORMAL },
    [PRESET_PLIF_MNIST] = { "`parametric_lif_net.MNISTNet`", PLIF_PATHS, "plif" },
    [PRESET_PLIF_FASHION_MNIST] = { "`parametric_lif_net.FashionMNISTNet`", PLIF_PATHS, "plif" },
    [PRESET_PLIF_NMNIST] = { "`parametric_lif_net.NMNISTNet`", PLIF_PATHS, "plif" },
    [PRESET_PLIF_CIFAR10] = { "`parametric_lif_net.CIFAR10Net`", PLIF_PATHS, "plif" },
    [PRESET_PLIF_CIFAR10_DVS] = { "`parametric_lif_net.CIFAR10DVSNet`", PLIF_PATHS, "plif" },
    [PRESET_PLIF_DVS_GESTURE] = { "`parametric_lif_net.DVSGestureNet`", PLIF_PATHS, "plif" },
    [PRESET_SEW_7B] = { "`ResNetN` of the SEW authors", SEW_N_PATHS, "plif" },
    [PRESET_WIDE_7B] = { "`ResNetN` of the SEW authors", SEW_N_PATHS, "plif" },
    [PRESET_PSN_CIFAR10] = { "`CIFAR10Net` of the PSN authors",
                             "`conv.0`, ..., `fc.1`, `fc.2`, `fc.3`", "psn" },
    [PRESET_PSN_SEQUENTIAL_CIFAR] = { "`CIFAR10Net` of the PSN authors, sequential",
                                      "`conv.0`, ..., `fc.1`, `fc.2`, `fc.3`", "psn" },
};

/* ---- reading --------------------------------------------------------------------------------- */
static bool depth_fits(const struct spec_preset *p)
{
    static const int64_t resnet[] = { 18, 34, 50, 101, 152 }, vgg[] = { 11, 13, 16, 19 };
    const bool is_vgg = p->kind == PRESET_SPIKING_VGG;
    if (!is_vgg && p->kind != PRESET_SEW_RESNET && p->kind != PRESET_SPIKING_RESNET) return true;
    const int64_t *depths = is_vgg ? vgg : resnet;
    const size_t n = is_vgg ? LENGTH(vgg) : LENGTH(resnet);
    for (size_t i = 0; i < n; i++)
        if (depths[i] == p->depth) return true;
    return false;
}

static int model_of(const char *name)
{
    size_t count;
    const struct spec_neuron_model *models = spec_neuron_models(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(models[i].name, name) == 0) return (int)i;
    return 0;
}

void spec_read_preset(struct spec_builder *b, const cJSON *network)
{
    static const char *const own[] = { "neuron" };
    const size_t before = b->faults->total;
    struct spec_preset p = { 0 };
    spec_read_object(&spec_object_preset, network, "/network", own, 1, &p, b->faults);
    if (b->faults->total > before) return;
    if (!depth_fits(&p))
        json_fault_add(b->faults, "/network/depth", "not_allowed", "must be %s, got %lld",
                       p.kind == PRESET_SPIKING_VGG ? "11, 13, 16 or 19"
                                                    : "18, 34, 50, 101 or 152",
                       (long long)p.depth);
    const struct spec_dataset_info *info = b->s->data;
    if (p.classes == 0 && info != NULL) p.classes = info->classes;
    if (p.classes == 0)
        json_fault_add(b->faults, "/network/classes", "not_allowed",
                       "the classes of this dataset are not known yet: say how many");
    spec_default_neuron(&b->neuron, model_of(spec_preset_infos[p.kind].neuron));
    const cJSON *neuron = json_get(network, "neuron");
    const struct spec_neuron defaults = b->neuron;
    if (neuron != NULL) {
        spec_read_neuron(neuron, "/network/neuron", &defaults, NULL, 0, &b->neuron, b->faults);
        spec_refuse_idle(b, neuron, "/network/neuron", &b->neuron, false);
    }
    if (b->faults->total > before) return;
    spec_build_preset(b, &p);
}
