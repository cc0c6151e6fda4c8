/* spec_fields: every field of an experiment spec, in one place. See spec_table.h. */
#include "common/spec_table.h"

#define LENGTH(a) (sizeof(a) / sizeof(a)[0])
#define AT(type, member) offsetof(struct type, member)
#define UNLIMITED 9007199254740992.0 /* 2^53: what JSON holds exactly */

/* ---- layers ---------------------------------------------------------------------------------- */
#define CONNECTIONS "add|and|iand|iand_swapped"
#define L(member) AT(spec_layer, u.member)
#define INIT(member)                                                                            \
    {                                                                                           \
        "init", FIELD_CHOICE, SPEC_RESULT, L(member), SPEC_INIT_UNIFORM,                        \
            .newer = true, .choices = "uniform|kaiming_normal|small_normal",                    \
            .meaning =                                                                          \
                "first weights: uniform in +-1/sqrt(fan in), biases too; normal with variance " \
                "2/(fan out), or with deviation 0.01, biases 0"                                 \
    }
static const struct spec_field conv2d_fields[] = {
    { "out_channels", FIELD_INT, SPEC_RESULT, L(conv2d.out_channels), .min = 1, .max = 65536,
      .required = true, .meaning = "output channels" },
    { "kernel_size", FIELD_PAIR, SPEC_RESULT, L(conv2d.kernel_size), .min = 1, .max = 64,
      .required = true, .meaning = "taps; a number or [height, width]" },
    { "stride", FIELD_PAIR, SPEC_RESULT, L(conv2d.stride), 1, 1, 64,
      .meaning = "step of the window" },
    { "padding", FIELD_PAIR, SPEC_RESULT, L(conv2d.padding), 0, 0, 64, .meaning = "zeros around" },
    { "dilation", FIELD_PAIR, SPEC_RESULT, L(conv2d.dilation), 1, 1, 64,
      .meaning = "distance of taps" },
    { "groups", FIELD_INT, SPEC_RESULT, L(conv2d.groups), 1, 1, 65536,
      .meaning = "independent groups of channels" },
    { "bias", FIELD_BOOL, SPEC_RESULT, L(conv2d.bias), 1, .meaning = "learned offset per channel" },
    { "weight_standardization", FIELD_BOOL, SPEC_RESULT, L(conv2d.weight_standardization), 0,
      .newer = true, .meaning = "weights of a channel with mean 0 and one variance, times a gain" },
    INIT(conv2d.init),
};
static const struct spec_field conv1d_fields[] = {
    { "out_channels", FIELD_INT, SPEC_RESULT, L(conv1d.out_channels), .min = 1, .max = 65536,
      .required = true, .meaning = "output channels" },
    { "kernel_size", FIELD_INT, SPEC_RESULT, L(conv1d.kernel_size), .min = 1, .max = 64,
      .required = true, .meaning = "taps" },
    { "stride", FIELD_INT, SPEC_RESULT, L(conv1d.stride), 1, 1, 64,
      .meaning = "step of the window" },
    { "padding", FIELD_INT, SPEC_RESULT, L(conv1d.padding), 0, 0, 64, .meaning = "zeros around" },
    { "dilation", FIELD_INT, SPEC_RESULT, L(conv1d.dilation), 1, 1, 64,
      .meaning = "distance of taps" },
    { "groups", FIELD_INT, SPEC_RESULT, L(conv1d.groups), 1, 1, 65536,
      .meaning = "independent groups of channels" },
    { "bias", FIELD_BOOL, SPEC_RESULT, L(conv1d.bias), 1, .meaning = "learned offset per channel" },
    INIT(conv1d.init),
};
#define UP(member) L(conv_transpose2d.member)
static const struct spec_field conv_transpose2d_fields[] = {
    { "out_channels", FIELD_INT, SPEC_RESULT, UP(out_channels), .min = 1, .max = 65536,
      .required = true, .meaning = "output channels" },
    { "kernel_size", FIELD_PAIR, SPEC_RESULT, UP(kernel_size), .min = 1, .max = 64,
      .required = true, .meaning = "taps; a number or [height, width]" },
    { "stride", FIELD_PAIR, SPEC_RESULT, UP(stride), 1, 1, 64,
      .meaning = "pixels of the output for one of the input" },
    { "padding", FIELD_PAIR, SPEC_RESULT, UP(padding), 0, 0, 64,
      .meaning = "pixels cut from every side of the output" },
    { "output_padding", FIELD_PAIR, SPEC_RESULT, UP(output_padding), 0, 0, 63,
      .meaning = "pixels more at the lower and right end; less than the stride" },
    { "dilation", FIELD_PAIR, SPEC_RESULT, UP(dilation), 1, 1, 64, .meaning = "distance of taps" },
    { "groups", FIELD_INT, SPEC_RESULT, UP(groups), 1, 1, 65536,
      .meaning = "independent groups of channels" },
    { "bias", FIELD_BOOL, SPEC_RESULT, UP(bias), 1, .meaning = "learned offset per channel" },
    INIT(conv_transpose2d.init),
};
static const struct spec_field linear_fields[] = {
    { "out_features", FIELD_INT, SPEC_RESULT, L(linear.out_features), .min = 1, .max = 1048576,
      .required = true, .meaning = "output features" },
    { "bias", FIELD_BOOL, SPEC_RESULT, L(linear.bias), 1, .meaning = "learned offset per feature" },
    INIT(linear.init),
};
static const struct spec_field batch_norm_fields[] = {
    { "eps", FIELD_NUMBER, SPEC_RESULT, L(batch_norm.eps), 1e-5, 0, 1, true,
      .meaning = "added to the variance" },
    { "momentum", FIELD_NUMBER, SPEC_RESULT, L(batch_norm.momentum), 0.1, 0, 1,
      .meaning = "share of the batch in the running statistics" },
    { "init", FIELD_CHOICE, SPEC_RESULT, L(batch_norm.init), SPEC_NORM_STANDARD, .newer = true,
      .choices = "standard|silent|firing",
      .meaning =
          "first weights 1 and biases 0; or weights 0, and biases 0 or 1, so that the neurons "
          "behind are silent or fire" },
};
static const struct spec_field threshold_norm_fields[] = {
    { "eps", FIELD_NUMBER, SPEC_RESULT, L(batch_norm.eps), 1e-5, 0, 1, true,
      .meaning = "added to the variance" },
    { "momentum", FIELD_NUMBER, SPEC_RESULT, L(batch_norm.momentum), 0.1, 0, 1,
      .meaning = "share of the batch in the running statistics" },
    { "alpha", FIELD_NUMBER, SPEC_RESULT, L(batch_norm.alpha), 1, 0, 1000, true,
      .meaning = "weights begin at alpha * v_threshold" },
    { "v_threshold", FIELD_NUMBER, SPEC_RESULT, L(batch_norm.v_threshold), 1, 0, 1e6, true,
      .meaning = "threshold of the neurons that follow" },
};
static const struct spec_field group_norm_fields[] = {
    { "groups", FIELD_INT, SPEC_RESULT, L(group_norm.groups), .min = 1, .max = 65536,
      .required = true, .meaning = "groups of channels that are normalised together" },
    { "eps", FIELD_NUMBER, SPEC_RESULT, L(group_norm.eps), 1e-5, 0, 1, true,
      .meaning = "added to the variance" },
};
static const struct spec_field synapse_filter_fields[] = {
    { "tau", FIELD_NUMBER, SPEC_RESULT, L(synapse_filter.tau), 100, 1, 1e6, true,
      .meaning = "time constant of the decay, in time-steps" },
    { "learnable", FIELD_BOOL, SPEC_RESULT, L(synapse_filter.learnable), 0,
      .meaning = "1/tau is sigmoid(w) and w is learned" },
};
static const struct spec_field attention_fields[] = {
    { "reduction", FIELD_INT, SPEC_RESULT, L(attention.reduction), 2, 1, 65536,
      .meaning = "hidden units are the length of the axis divided by this" },
};
static const struct spec_field spatial_attention_fields[] = {
    { "kernel_size", FIELD_INT, SPEC_RESULT, L(spatial_attention.kernel_size), 3, 1, 63,
      .meaning = "taps of the convolution in each direction; odd" },
};
static const struct spec_field upsample_fields[] = {
    { "scale_factor", FIELD_PAIR, SPEC_RESULT, L(upsample.scale_factor), 2, 1, 64,
      .meaning = "copies of a pixel; a number or [height, width]" },
};
static const struct spec_field max_pool_fields[] = {
    { "kernel_size", FIELD_PAIR, SPEC_RESULT, L(pool.kernel_size), .min = 1, .max = 256,
      .required = true, .meaning = "window; a number or [height, width]" },
    { "stride", FIELD_PAIR, SPEC_RESULT, L(pool.stride), 0, 0, 256,
      .meaning = "step of the window; 0 = kernel_size" },
    { "padding", FIELD_PAIR, SPEC_RESULT, L(pool.padding), 0, 0, 128,
      .meaning = "border that never wins" },
    { "ceil_mode", FIELD_BOOL, SPEC_RESULT, L(pool.ceil_mode), 0, .meaning = "keep cut windows" },
    { "dilation", FIELD_PAIR, SPEC_RESULT, L(pool.dilation), 1, 1, 64, .newer = true,
      .meaning = "distance of a window's pixels" },
};
static const struct spec_field avg_pool_fields[] = {
    { "kernel_size", FIELD_PAIR, SPEC_RESULT, L(pool.kernel_size), .min = 1, .max = 256,
      .required = true, .meaning = "window; a number or [height, width]" },
    { "stride", FIELD_PAIR, SPEC_RESULT, L(pool.stride), 0, 0, 256,
      .meaning = "step of the window; 0 = kernel_size" },
    { "padding", FIELD_PAIR, SPEC_RESULT, L(pool.padding), 0, 0, 128, .meaning = "zeros around" },
    { "ceil_mode", FIELD_BOOL, SPEC_RESULT, L(pool.ceil_mode), 0, .meaning = "keep cut windows" },
    { "count_include_pad", FIELD_BOOL, SPEC_RESULT, L(pool.count_include_pad), 1,
      .meaning = "padding counts in the divisor" },
};
static const struct spec_field adaptive_fields[] = {
    { "output_size", FIELD_PAIR, SPEC_RESULT, L(adaptive.output_size), 1, 1, 1024,
      .meaning = "output; a number or [height, width]; 1 = the mean of the image" },
};
static const struct spec_field dropout_fields[] = {
    { "p", FIELD_NUMBER, SPEC_RESULT, L(dropout.p), 0.5, 0, 0.999,
      .meaning = "share of values set to zero; one mask for all time-steps" },
};
static const struct spec_field voting_fields[] = {
    { "size", FIELD_INT, SPEC_RESULT, L(voting.size), 10, 1, 65536, .meaning = "outputs a class" },
};
static const struct spec_field recurrent_fields[] = {
    { "connect", FIELD_CHOICE, SPEC_RESULT, L(recurrent.connect), SPEC_ALL_TO_ALL,
      .choices = "all_to_all|element_wise",
      .meaning =
          "i[t] = W (x[t], y[t-1]) + b of features; or i[t] = x[t] + y[t-1] of one shape" },
    { "bias", FIELD_BOOL, SPEC_RESULT, L(recurrent.bias), 1, .meaning = "b; of all_to_all" },
    { "neuron", FIELD_NEURON, SPEC_RESULT, L(recurrent.neuron), .count_at = L(recurrent.neurons),
      .meaning = "y[t] = neuron(i[t]), on top of network.neuron; a model that steps" },
    { "body", FIELD_LAYERS, SPEC_RESULT,
      .meaning = "in place of neuron: layers that give y[t] of i[t]; none may mix time-steps" },
};
static const struct spec_field residual_fields[] = {
    { "connect", FIELD_CHOICE, SPEC_RESULT, L(residual.connect), SPEC_ADD, .choices = CONNECTIONS,
      .meaning = "identity + out, identity * out, identity * (1 - out), out * (1 - identity)" },
    { "body", FIELD_LAYERS, SPEC_RESULT, .required = true, .meaning = "layers that give out" },
    { "shortcut", FIELD_LAYERS, SPEC_RESULT,
      .meaning = "layers that give identity, called `downsample`; none = the input itself" },
};
static const struct spec_field sequential_fields[] = {
    { "body", FIELD_LAYERS, SPEC_RESULT, .required = true, .meaning = "layers one by one" },
};
#define BLOCK_FIELDS                                                                               \
    { "style",                                                                                     \
      FIELD_CHOICE,                                                                                \
      SPEC_RESULT,                                                                                 \
      L(block.style),                                                                              \
      SPEC_BLOCK_BASIC,                                                                            \
      .choices = "basic|bottleneck",                                                               \
      .meaning = "two 3x3 convolutions; or 1x1, 3x3, 1x1" },                                       \
        { "out_channels",   FIELD_INT,                                                             \
          SPEC_RESULT,      L(block.out_channels),                                                 \
          .min = 1,         .max = 16384,                                                          \
          .required = true, .meaning = "output channels; a bottleneck gives four times as many" }, \
        { "stride", FIELD_INT, SPEC_RESULT, L(block.stride),                                       \
          1,        1,         64,          .meaning = "of the first 3x3 convolution" },           \
        { "downsample",                                                                            \
          FIELD_CHOICE,                                                                            \
          SPEC_RESULT,                                                                             \
          L(block.downsample),                                                                     \
          SPEC_DOWNSAMPLE_AUTO,                                                                    \
          .choices = "auto|yes|no",                                                                \
          .meaning = "a 1x1 convolution in the shortcut; auto: where stride or channels change" }, \
        INIT(block.init),                                                                          \
        { "zero_init",                                                                             \
          FIELD_BOOL,                                                                              \
          SPEC_RESULT,                                                                             \
          L(block.zero_init),                                                                      \
          0,                                                                                       \
          .newer = true,                                                                           \
          .meaning =                                                                               \
              "the last batch norm begins with weights 0 (and biases 1 where connect is and): "    \
              "the block begins as its shortcut" },                                                \
    {                                                                                              \
        "neuron", FIELD_NEURON, SPEC_RESULT, L(block.neuron),                                      \
            .meaning = "on top of network.neuron"                                                  \
    }
static const struct spec_field sew_block_fields[] = {
    BLOCK_FIELDS,
    { "connect", FIELD_CHOICE, SPEC_RESULT, L(block.connect), SPEC_ADD, .choices = CONNECTIONS,
      .meaning = "see residual" },
};
static const struct spec_field spiking_block_fields[] = { BLOCK_FIELDS };
static const struct spec_field multi_attention_fields[] = {
    { "temporal", FIELD_BOOL, SPEC_RESULT, L(multi_attention.temporal), 1,
      .meaning = "a temporal_attention, called `ta`" },
    { "channel", FIELD_BOOL, SPEC_RESULT, L(multi_attention.channel), 1,
      .meaning = "a channel_attention, `ca`" },
    { "spatial", FIELD_BOOL, SPEC_RESULT, L(multi_attention.spatial), 1,
      .meaning = "a spatial_attention, `sa`" },
    { "reduction_t", FIELD_INT, SPEC_RESULT, L(multi_attention.reduction_t), 2, 1, 65536,
      .meaning = "`ta` has time_steps / reduction_t hidden units" },
    { "reduction_c", FIELD_INT, SPEC_RESULT, L(multi_attention.reduction_c), 2, 1, 65536,
      .meaning = "`ca` has channels / reduction_c hidden units" },
    { "kernel_size", FIELD_INT, SPEC_RESULT, L(multi_attention.kernel_size), 3, 1, 63,
      .meaning = "taps of the convolution of `sa` in each direction; odd" },
};
static const struct spec_variant layer_variants[] = {
    [SPEC_CONV2D] = { "conv2d", conv2d_fields, LENGTH(conv2d_fields), "2-d convolution" },
    [SPEC_LINEAR] = { "linear", linear_fields, LENGTH(linear_fields), "fully connected" },
    [SPEC_BATCH_NORM] = { "batch_norm", batch_norm_fields, LENGTH(batch_norm_fields),
                          "normalisation over time, batch and space" },
    [SPEC_NEURON] = { "neuron", NULL, 0, "spiking neurons; see Neurons" },
    [SPEC_MAX_POOL2D] = { "max_pool2d", max_pool_fields, LENGTH(max_pool_fields),
                          "maximum of windows" },
    [SPEC_AVG_POOL2D] = { "avg_pool2d", avg_pool_fields, LENGTH(avg_pool_fields),
                          "mean of windows" },
    [SPEC_FLATTEN] = { "flatten", NULL, 0,
                       "image to features; layers that need an image (convolutions, pools, "
                       "`upsample`, `group_norm`, `temporal_batch_norm`, `synapse_filter`, "
                       "attention) stand before it" },
    [SPEC_DROPOUT] = { "dropout", dropout_fields, LENGTH(dropout_fields), "dropout" },
    [SPEC_VOTING] = { "voting", voting_fields, LENGTH(voting_fields),
                      "mean over groups of outputs" },
    [SPEC_ADAPTIVE_AVG_POOL2D] = { "adaptive_avg_pool2d", adaptive_fields, LENGTH(adaptive_fields),
                                   "mean of windows that cover the "
                                   "image evenly" },
    [SPEC_CONV1D] = { "conv1d", conv1d_fields, LENGTH(conv1d_fields),
                      "1-d convolution of an image of height 1" },
    [SPEC_CONV_TRANSPOSE2D] = { "conv_transpose2d", conv_transpose2d_fields,
                                LENGTH(conv_transpose2d_fields), "transposed 2-d convolution" },
    [SPEC_SYNAPSE_FILTER] = { "synapse_filter", synapse_filter_fields,
                              LENGTH(synapse_filter_fields), "leaky trace of spikes" },
    [SPEC_TEMPORAL_ATTENTION] = { "temporal_attention", attention_fields, LENGTH(attention_fields),
                                  "a factor a time-step from mean and maximum of the sample" },
    [SPEC_CHANNEL_ATTENTION] = { "channel_attention", attention_fields, LENGTH(attention_fields),
                                 "a factor a channel from mean and maximum of the sample" },
    [SPEC_SPATIAL_ATTENTION] = { "spatial_attention", spatial_attention_fields,
                                 LENGTH(spatial_attention_fields),
                                 "a factor a pixel from mean and maximum of the sample" },
    [SPEC_UPSAMPLE] = { "upsample", upsample_fields, LENGTH(upsample_fields),
                        "every pixel repeated (nearest)" },
    [SPEC_GROUP_NORM] = { "group_norm", group_norm_fields, LENGTH(group_norm_fields),
                          "normalisation of every image in groups of channels" },
    [SPEC_THRESHOLD_BATCH_NORM] = { "threshold_batch_norm", threshold_norm_fields,
                                    LENGTH(threshold_norm_fields),
                                    "tdBN: batch norm whose weights "
                                    "begin at alpha times the threshold" },
    [SPEC_TEMPORAL_BATCH_NORM] = { "temporal_batch_norm", batch_norm_fields,
                                   LENGTH(batch_norm_fields),
                                   "TEBN: batch norm, then a learned "
                                   "factor for each time-step" },
    [SPEC_RECURRENT] = { "recurrent", recurrent_fields, LENGTH(recurrent_fields),
                         "a neuron or layers whose output y comes back to their input "
                         "i one step later" },
    [SPEC_RELU] = { "relu", NULL, 0, "max(x, 0), value by value" },
    [SPEC_RESIDUAL] = { "residual", residual_fields, LENGTH(residual_fields),
                        "two branches and where they meet" },
    [SPEC_SEQUENTIAL] = { "sequential", sequential_fields, LENGTH(sequential_fields),
                          "a list with a name" },
    [SPEC_SEW_BLOCK] = { "sew_block", sew_block_fields, LENGTH(sew_block_fields),
                         "spike-element-wise block: convolution, batch norm, neuron, two or three "
                         "times, then the connection" },
    [SPEC_SPIKING_BLOCK] = { "spiking_block", spiking_block_fields, LENGTH(spiking_block_fields),
                             "block of a spiking ResNet: the last neuron comes after the sum" },
    [SPEC_MULTI_DIMENSIONAL_ATTENTION] = { "multi_dimensional_attention", multi_attention_fields,
                                           LENGTH(multi_attention_fields),
                                           "temporal, channel and spatial attention one after the "
                                           "other, each of which may be left out, then `relu`" },
};
const struct spec_object spec_object_layer = {
    "layer", "type", AT(spec_layer, type), -1, layer_variants, LENGTH(layer_variants), NULL, 0
};
const char *spec_layer_type_name(enum spec_layer_type t) { return layer_variants[t].name; }

/* ---- dataset --------------------------------------------------------------------------------- */
static const struct spec_field crop_fields[] = {
    { "padding", FIELD_INT, SPEC_RESULT, AT(spec_transform, padding), 4, 1, 64,
      .meaning = "zeros around, then a crop of the old size at a random place" },
};
static const struct spec_field flip_fields[] = {
    { "p", FIELD_NUMBER, SPEC_RESULT, AT(spec_transform, p), 0.5, 0, 1, .meaning = "how often" },
};
static const struct spec_variant transform_variants[] = {
    [SPEC_RANDOM_CROP] = { "random_crop", crop_fields, LENGTH(crop_fields), "random crop" },
    [SPEC_HORIZONTAL_FLIP] = { "horizontal_flip", flip_fields, LENGTH(flip_fields), "mirror" },
};
static const struct spec_object transform_object = {
    "transform", "type", AT(spec_transform, type), -1, transform_variants,
    LENGTH(transform_variants), NULL, 0
};
static const struct spec_field validation_fields[] = {
    { "fraction", FIELD_NUMBER, SPEC_RESULT, AT(spec_dataset, validation_fraction), 0.1, 0, 0.5,
      .meaning = "share of the training data, cut per class by hash of index" },
};
static const struct spec_object validation_object = {
    "dataset.validation", NULL, 0, 0, NULL, 0, validation_fields, LENGTH(validation_fields)
};
static const struct spec_field normalize_fields[] = {
    { "mean", FIELD_NUMBERS, SPEC_RESULT, AT(spec_dataset, mean), 0, -1e6, 1e6, .required = true,
      .size = SPEC_CHANNELS_NORM_MAX, .count_at = AT(spec_dataset, n_normalize),
      .meaning = "of pixel values in [0, 1]; one number, or one a channel" },
    { "std", FIELD_NUMBERS, SPEC_RESULT, AT(spec_dataset, std), 1, 0, 1e6, true, .required = true,
      .size = SPEC_CHANNELS_NORM_MAX, .count_at = AT(spec_dataset, n_normalize),
      .meaning = "as many as mean" },
};
static const struct spec_object normalize_object = {
    "dataset.normalize", NULL, 0, 0, NULL, 0, normalize_fields, LENGTH(normalize_fields)
};
static const struct spec_field latency_fields[] = {
    { "function", FIELD_CHOICE, SPEC_RESULT, AT(spec_dataset, latency), SPEC_LATENCY_LINEAR,
      .choices = "linear|log", .meaning = "time of the spike: linear in the value, or T - 1 - "
                                          "ln(a * value + 1) with a = exp(T - 1) - 1" },
};
static const struct spec_field phase_fields[] = {
    { "phases", FIELD_INT, SPEC_RESULT, AT(spec_dataset, phases), 8, 1, 32,
      .meaning = "binary digits of a value; they repeat over the time-steps" },
};
static const struct spec_variant encoder_variants[] = {
    [SPEC_ENCODER_DIRECT] = { "direct", NULL, 0, "the image itself at every time-step" },
    [SPEC_ENCODER_POISSON] = { "poisson", NULL, 0,
                               "a spike with the pixel's value as probability" },
    [SPEC_ENCODER_LATENCY] = { "latency", latency_fields, LENGTH(latency_fields),
                               "one spike: the larger the value, the earlier" },
    [SPEC_ENCODER_WEIGHTED_PHASE] = { "weighted_phase", phase_fields, LENGTH(phase_fields),
                                      "the value's binary digits, most significant first" },
};
static const struct spec_object encoder_object = {
    "dataset.encoder", "type", AT(spec_dataset, encoder), SPEC_ENCODER_DIRECT, encoder_variants,
    LENGTH(encoder_variants), NULL, 0
};
static const struct spec_field duration_fields[] = {
    { "duration_us", FIELD_INT, SPEC_RESULT, AT(spec_frames, duration_us), .min = 1, .max = 1e12,
      .required = true, .meaning = "length of a frame in microseconds" },
    { "gaps", FIELD_CHOICE, SPEC_RESULT, AT(spec_frames, gaps), SPEC_GAPS_KEEP,
      .choices = "keep|skip",
      .meaning = "keep: frames follow each other; skip: a frame begins at the next event" },
    { "own_lengths", FIELD_BOOL, SPEC_RESULT, AT(spec_frames, own_lengths), 0, .newer = true,
      .meaning = "a sample ends with its last frame: empty ones behind it count neither in the "
                 "readout and the loss nor in statistics and rates" },
};
static const struct spec_variant frames_variants[] = {
    [SPEC_SPLIT_NUMBER] = { "number", NULL, 0,
                            "time_steps frames of equally many events, the rest in the last" },
    [SPEC_SPLIT_TIME] = { "time", NULL, 0,
                          "time_steps frames of equal time, the rest in the last one" },
    [SPEC_SPLIT_DURATION] = { "duration", duration_fields, LENGTH(duration_fields),
                              "the first time_steps frames of a fixed duration; frames after the "
                              "last event are empty, events after the last frame are left out" },
};
static const struct spec_object frames_object = {
    "dataset.frames", "split_by", AT(spec_frames, split_by), SPEC_SPLIT_NUMBER, frames_variants,
    LENGTH(frames_variants), NULL, 0
};
static const struct spec_field dataset_fields[] = {
    { "name", FIELD_STRING, SPEC_RESULT, AT(spec_dataset, name), .required = true,
      .size = sizeof(((struct spec_dataset *)0)->name),
      .meaning = "a built-in dataset or a folder of the data directory" },
    { "train_limit", FIELD_INT, SPEC_RESULT, AT(spec_dataset, train_limit), 0, 0, UNLIMITED,
      .meaning = "use the first n training samples; 0 = all" },
    { "test_limit", FIELD_INT, SPEC_RESULT, AT(spec_dataset, test_limit), 0, 0, UNLIMITED,
      .meaning = "use the first n test samples; 0 = all" },
    { "validation", FIELD_OBJECT, SPEC_RESULT, 0, .object = &validation_object,
      .meaning = "split that selects the best weights" },
    { "transforms", FIELD_OBJECTS, SPEC_RESULT, AT(spec_dataset, transforms),
      .max = SPEC_TRANSFORMS_MAX, .size = sizeof(struct spec_transform),
      .count_at = AT(spec_dataset, n_transforms), .object = &transform_object,
      .meaning = "of training samples, in this order" },
    { "normalize", FIELD_OBJECT, SPEC_RESULT, 0, .object = &normalize_object,
      .count_at = AT(spec_dataset, n_normalize), .meaning = "(value - mean) / std; absent = none" },
    { "encoder", FIELD_OBJECT, SPEC_RESULT, 0, .object = &encoder_object,
      .meaning = "how an image becomes T time-steps" },
    { "frames", FIELD_OBJECT, SPEC_RESULT, AT(spec_dataset, frames), .object = &frames_object,
      .count_at = AT(spec_dataset, n_frames),
      .meaning = "how events become time_steps frames of counts; event data only" },
};
static const struct spec_object dataset_object = {
    "dataset", NULL, 0, 0, NULL, 0, dataset_fields, LENGTH(dataset_fields)
};

/* ---- monitors -------------------------------------------------------------------------------- */
#define M(member) AT(spec_monitor, member)
#define MONITOR_TIMES(steps, epochs)                                                              \
    { "every_steps", FIELD_INT, SPEC_LABEL, M(every_steps), steps, 0, 1e9,                         \
      .meaning = "updates between records; 0 = not by steps" },                                    \
    { "every_epochs", FIELD_INT, SPEC_LABEL, M(every_epochs), epochs, 0, 1e6,                      \
      .meaning = "epochs between records; 0 = not by epochs" }
static const struct spec_field series_monitor_fields[] = { MONITOR_TIMES(20, 0) };
static const struct spec_field matrix_monitor_fields[] = { MONITOR_TIMES(0, 1) };
static const struct spec_field raster_fields[] = {
    MONITOR_TIMES(0, 1),
    { "samples", FIELD_INT, SPEC_LABEL, M(samples), 1, 1, 16, .meaning = "validation samples" },
    { "neurons", FIELD_INT, SPEC_LABEL, M(neurons), 256, 1, 10000,
      .meaning = "at most so many of a layer, evenly spread" },
};
static const struct spec_field membrane_fields[] = {
    MONITOR_TIMES(0, 1),
    { "neurons", FIELD_INT, SPEC_LABEL, M(neurons), 8, 1, 1000,
      .meaning = "at most so many of a layer, evenly spread" },
};
static const struct spec_field monitor_fields[] = {
    { "layers", FIELD_STRINGS, SPEC_LABEL, M(layers), .max = 16, .size = SPEC_PATH_MAX,
      .count_at = M(n_layers), .meaning = "paths or globs; default \"*\"" },
};
static const struct spec_variant monitor_variants[] = {
    [SPEC_MONITOR_FIRING_RATE] = { "firing_rate", series_monitor_fields,
                                   LENGTH(series_monitor_fields), "mean spikes of a layer" },
    [SPEC_MONITOR_RASTER] = { "raster", raster_fields, LENGTH(raster_fields), "spikes one by one" },
    [SPEC_MONITOR_MEMBRANE] = { "membrane_potential", membrane_fields, LENGTH(membrane_fields),
                                "membrane potentials over time" },
    [SPEC_MONITOR_TIME_CONSTANT] = { "time_constant", series_monitor_fields,
                                     LENGTH(series_monitor_fields), "learned time constants" },
    [SPEC_MONITOR_PSN_WEIGHT] = { "psn_weight", matrix_monitor_fields,
                                  LENGTH(matrix_monitor_fields),
                                  "weights over time of PSN layers" },
    [SPEC_MONITOR_GRAD_NORM] = { "grad_norm", series_monitor_fields, LENGTH(series_monitor_fields),
                                 "2-norm of a layer's weight gradients" },
};
const struct spec_object spec_object_monitor = {
    "monitor", "type", M(type), -1, monitor_variants, LENGTH(monitor_variants), monitor_fields,
    LENGTH(monitor_fields)
};

/* ---- top ------------------------------------------------------------------------------------- */
#define S(member) AT(spec, member)
static const struct spec_field checkpoint_fields[] = {
    { "every_steps", FIELD_INT, SPEC_EXECUTION, S(checkpoint_every_steps), 500, 1, UNLIMITED,
      .meaning = "updates between checkpoints" },
    { "keep", FIELD_INT, SPEC_EXECUTION, S(checkpoint_keep), 2, 1, 100,
      .meaning = "newest ones kept" },
};
static const struct spec_object checkpoint_object = {
    "checkpoint", NULL, 0, 0, NULL, 0, checkpoint_fields, LENGTH(checkpoint_fields)
};
static const struct spec_field resources_fields[] = {
    { "threads", FIELD_INT, SPEC_EXECUTION, S(threads), 2, 1, 1024, .meaning = "compute threads" },
    { "memory_mib", FIELD_INT, SPEC_EXECUTION, S(memory_mib), 0, 0, 1e8,
      .meaning = "largest memory plan; 0 = the machine's" },
    { "time_limit_s", FIELD_INT, SPEC_EXECUTION, S(time_limit_s), 0, 0, 1e9,
      .meaning = "running seconds over all attempts; 0 = no limit. Then the worker writes a "
                 "checkpoint and the experiment has failed; a higher limit and `retry` go on" },
    { "no_progress_s", FIELD_INT, SPEC_EXECUTION, S(no_progress_s), 1800, 0, 1e9,
      .meaning = "seconds without a batch, of training or evaluation, after which the worker is "
                 "killed and tried again; 0 = never" },
};
static const struct spec_object resources_object = {
    "resources", NULL, 0, 0, NULL, 0, resources_fields, LENGTH(resources_fields)
};
static const struct spec_field retry_fields[] = {
    { "max_attempts", FIELD_INT, SPEC_LABEL, S(max_attempts), 3, 1, 100,
      .meaning = "attempts in all, if earlier ones end by faults of the machine" },
    { "on", FIELD_STRINGS, SPEC_LABEL, S(retry_on), .max = SPEC_RETRY_CLASSES_MAX, .size = 16,
      .count_at = S(n_retry_on), .choices = "error|oom",
      .meaning = "further classes of failure to try again after: errors of the worker program, "
                 "more memory than allowed" },
};
static const struct spec_object retry_object = {
    "retry", NULL, 0, 0, NULL, 0, retry_fields, LENGTH(retry_fields)
};
static const struct spec_field top_fields[] = {
    { "version", FIELD_INT, SPEC_RESULT, S(version), SPEC_VERSION, SPEC_VERSION, SPEC_VERSION,
      .required = true, .meaning = "of this grammar" },
    { "name", FIELD_STRING, SPEC_LABEL, S(name), .size = SPEC_NAME_MAX, .meaning = "for people" },
    { "tags", FIELD_STRINGS, SPEC_LABEL, S(tags), .max = SPEC_TAGS_MAX, .size = 64,
      .count_at = S(n_tags), .meaning = "for filters" },
    { "priority", FIELD_INT, SPEC_LABEL, S(priority), 0, -100, 100,
      .meaning = "higher runs first" },
    { "seed", FIELD_INT, SPEC_RESULT, S(seed), 0, 0, UNLIMITED,
      .meaning = "of every random number of the run" },
    { "time_steps", FIELD_INT, SPEC_RESULT, S(time_steps), 4, 1, SPEC_TIME_STEPS_MAX,
      .meaning = "T" },
    { "dataset", FIELD_OBJECT, SPEC_RESULT, S(dataset), .required = true, .object = &dataset_object,
      .meaning = "what is learned" },
    { "train", FIELD_OBJECT, SPEC_RESULT, S(train), .object = &spec_object_train,
      .meaning = "how" },
    { "monitors", FIELD_OBJECTS, SPEC_LABEL, S(monitors), .max = SPEC_MONITORS_MAX,
      .size = sizeof(struct spec_monitor), .count_at = S(n_monitors),
      .object = &spec_object_monitor,
      .meaning = "what is recorded; absent = a useful set, [] = nothing" },
    { "checkpoint", FIELD_OBJECT, SPEC_EXECUTION, 0, .object = &checkpoint_object,
      .meaning = "for resuming" },
    { "resources", FIELD_OBJECT, SPEC_EXECUTION, 0, .object = &resources_object,
      .meaning = "what a worker may use" },
    { "retry", FIELD_OBJECT, SPEC_LABEL, 0, .object = &retry_object, .meaning = "after faults" },
    { "export", FIELD_ONLY, SPEC_LABEL, .max = 1, .choices = "safetensors",
      .meaning = "formats of the result" },
};
const struct spec_object spec_object_top = {
    "spec", NULL, 0, 0, NULL, 0, top_fields, LENGTH(top_fields)
};
