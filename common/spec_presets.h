/* spec_presets: networks with a name, {"preset": ...} instead of {"layers": [...]} (private to
 * common/spec*.c). A preset is read into the same layers and groups that its list would give, and
 * is written as that list: the normal form of a spec knows no presets. Any thread. */
#ifndef COMMON_SPEC_PRESETS_H
#define COMMON_SPEC_PRESETS_H

#include "common/spec_build.h"

enum spec_preset_kind {
    PRESET_SEW_RESNET,
    PRESET_SPIKING_RESNET,
    PRESET_SPIKING_VGG,
    PRESET_PLIF_MNIST,
    PRESET_PLIF_FASHION_MNIST,
    PRESET_PLIF_NMNIST,
    PRESET_PLIF_CIFAR10,
    PRESET_PLIF_CIFAR10_DVS,
    PRESET_PLIF_DVS_GESTURE,
    PRESET_SEW_7B,
    PRESET_WIDE_7B,
    PRESET_PSN_CIFAR10,
    PRESET_PSN_SEQUENTIAL_CIFAR,
    PRESET_COUNT
};
enum spec_stem { SPEC_STEM_IMAGENET, SPEC_STEM_CIFAR };

struct spec_preset {
    int kind, stem, connect;
    int64_t depth, width; /* width: channels of the first stage */
    int64_t classes;      /* 0: the dataset's */
    bool batch_norm, bias, zero_init;
};
/* What docs/spec.md says of a preset beyond its fields. */
struct spec_preset_info {
    const char *class_name; /* whose names the paths are */
    const char *paths;
    const char *neuron;     /* default model; v_reset 0, atan */
    enum spec_init conv, linear; /* first weights, as the class sets them */
};
extern const struct spec_object spec_object_preset; /* struct spec_preset, key "preset" */
extern const struct spec_preset_info spec_preset_infos[PRESET_COUNT];

/* Reads the preset of `network` and builds its layers; network.neuron is on top of its own. */
void spec_read_preset(struct spec_builder *b, const cJSON *network);
/* The layers of one (spec_preset_nets.c). */
void spec_build_preset(struct spec_builder *b, const struct spec_preset *p);

#endif
