/* spec: a validated experiment spec as a struct (design 4). Any thread; read-only after parsing.
 *
 * One field table (spec_fields.c) makes the parser, the normalised spec, the JSON Schema and
 * docs/spec.md. Unknown fields are faults; all faults are reported at once, each with its pointer.
 * Used by the server (accept or refuse, normalise, hash) and by the worker (build, train). */
#ifndef COMMON_SPEC_H
#define COMMON_SPEC_H

#include "common/digest.h"
#include "common/err.h"
#include "common/json.h"
#include "common/spec_neuron.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPEC_VERSION 1
#define SPEC_BYTES_MAX (1024 * 1024)
#define SPEC_NAME_MAX 128
#define SPEC_PATH_MAX 128
#define SPEC_TAGS_MAX 16
#define SPEC_LAYERS_MAX 2000 /* all nested layers together */
#define SPEC_TRANSFORMS_MAX 16
#define SPEC_MONITORS_MAX 32
#define SPEC_CHANNELS_NORM_MAX 8
#define SPEC_TIME_STEPS_MAX 1024

/* ---- layers ---------------------------------------------------------------------------------- */
enum spec_layer_type {
    SPEC_CONV2D,
    SPEC_LINEAR,
    SPEC_BATCH_NORM,
    SPEC_NEURON,
    SPEC_MAX_POOL2D,
    SPEC_AVG_POOL2D,
    SPEC_FLATTEN,
    SPEC_DROPOUT,
    SPEC_VOTING,
    SPEC_ADAPTIVE_AVG_POOL2D,
    SPEC_CONV1D,
    SPEC_CONV_TRANSPOSE2D,
    SPEC_SYNAPSE_FILTER,
    SPEC_TEMPORAL_ATTENTION,
    SPEC_CHANNEL_ATTENTION,
    SPEC_SPATIAL_ATTENTION,
    SPEC_UPSAMPLE,
    SPEC_GROUP_NORM,
    SPEC_THRESHOLD_BATCH_NORM,
    SPEC_TEMPORAL_BATCH_NORM,
    SPEC_RELU,
    SPEC_RECURRENT,  /* as a layer: where what comes back joins the input */
    SPEC_RESIDUAL,   /* as a layer: where the two branches of a residual meet */
    SPEC_SEQUENTIAL, /* from here on: groups of layers, never in spec.layers themselves */
    SPEC_SEW_BLOCK,
    SPEC_SPIKING_BLOCK,
    SPEC_MULTI_DIMENSIONAL_ATTENTION,
    SPEC_LAYER_TYPE_COUNT
};
const char *spec_layer_type_name(enum spec_layer_type t); /* "conv2d" */

/* First weights: uniform in +-1/sqrt(fan in), biases too (PyTorch's default); normal with variance
 * 2 / fan out (He et al., 2015), or with deviation 0.01, biases 0. */
enum spec_init { SPEC_INIT_UNIFORM, SPEC_INIT_KAIMING_NORMAL, SPEC_INIT_SMALL_NORMAL };
/* Of batch norm: weights 1, biases 0; weights 0 and biases 0; weights 0 and biases 1. */
enum spec_norm_init { SPEC_NORM_STANDARD, SPEC_NORM_SILENT, SPEC_NORM_FIRING };
struct spec_conv2d {
    int64_t out_channels, kernel_size[2], stride[2], padding[2], dilation[2], groups; /* [h, w] */
    bool bias, weight_standardization;
    int init;
};
struct spec_conv1d {
    int64_t out_channels, kernel_size, stride, padding, dilation, groups;
    bool bias;
    int init;
};
struct spec_conv_transpose2d {
    int64_t out_channels, kernel_size[2], stride[2], padding[2], output_padding[2], dilation[2],
        groups;
    bool bias;
    int init;
};
struct spec_pool2d {
    int64_t kernel_size[2], stride[2], padding[2]; /* stride defaults to kernel_size */
    int64_t dilation[2];                           /* maximum only */
    bool ceil_mode, count_include_pad;
};
/* How two branches meet (Fang et al., NeurIPS 2021): identity + out, identity * out,
 * identity * (1 - out), out * (1 - identity); out is the body's, identity the shortcut's. */
enum spec_connect { SPEC_ADD, SPEC_AND, SPEC_IAND, SPEC_IAND_SWAPPED };
enum spec_block_style { SPEC_BLOCK_BASIC, SPEC_BLOCK_BOTTLENECK };
enum spec_downsample { SPEC_DOWNSAMPLE_AUTO, SPEC_DOWNSAMPLE_YES, SPEC_DOWNSAMPLE_NO };
struct spec_block { /* of a residual network; the bottleneck gives 4 * out_channels */
    int style, connect, downsample;
    int64_t out_channels, stride;
    int init;       /* of the convolutions */
    bool zero_init; /* begins as its shortcut */
    struct spec_neuron neuron;
};
/* How the output of a recurrent layer's body comes back to its input: through a weight from every
 * output to every input, or each to itself. */
enum spec_recurrence { SPEC_ALL_TO_ALL, SPEC_ELEMENT_WISE };
#define SPEC_INPUTS_MAX 2
#define SPEC_INPUT ((size_t)-1) /* as an input: the network's own */
struct spec_layer {
    enum spec_layer_type type;
    char path[SPEC_PATH_MAX]; /* "0", "stem.conv"; names parameters, monitors, series (design 4) */
    char pointer[160];        /* "/network/layers/3" */
    /* Of a layer that a group or preset made: its field that a fault names in place of the layer's
     * own; NULL: the one of that name. */
    const char *blame;
    bool unread; /* while parsing: faults in its fields, so that its shape is not known */
    size_t inputs[SPEC_INPUTS_MAX], n_inputs; /* layers before this one; 0: the one before it */
    union {
        struct spec_conv2d conv2d;
        struct spec_conv1d conv1d; /* of an image of height 1 */
        struct spec_conv_transpose2d conv_transpose2d;
        struct {
            int64_t out_features;
            bool bias;
            int init;
        } linear;
        struct {
            double eps, momentum, alpha, v_threshold; /* the last two: threshold_batch_norm */
            int init;                                 /* not of threshold_batch_norm */
        } batch_norm;
        struct {
            int64_t groups;
            double eps;
        } group_norm;
        struct {
            double tau;
            bool learnable;
        } synapse_filter;
        struct {
            int64_t reduction;
        } attention;
        struct {
            int64_t kernel_size; /* odd */
        } spatial_attention;
        struct {
            int64_t scale_factor[2];
        } upsample;
        struct spec_neuron neuron; /* network.neuron's defaults already merged in */
        struct {
            int connect;
            bool bias;                 /* all_to_all */
            size_t body;               /* layer: this many behind it; the last one comes back */
            size_t neurons;            /* group: 1, its body is `neuron`; 0, a list */
            struct spec_neuron neuron; /* group */
        } recurrent;
        struct spec_pool2d pool;
        struct {
            int64_t output_size[2];
        } adaptive;
        struct {
            double p;
        } dropout;
        struct {
            int64_t size;
        } voting;
        struct {
            int connect;
        } residual; /* inputs: body, shortcut */
        struct spec_block block;
        struct {
            bool temporal, channel, spatial;
            int64_t reduction_t, reduction_c, kernel_size;
        } multi_attention;
    } u;
};

/* A group as it was written: its layers are spec.layers [begin, end), its own list (or body)
 * [begin, body_end), a shortcut [body_end, end - 1), the meeting point of a residual end - 1, the
 * joining point of a recurrent layer begin. */
struct spec_group {
    struct spec_layer head; /* type, path, pointer and fields of its own */
    size_t begin, body_end, end;
};

/* ---- the other parts ------------------------------------------------------------------------- */
enum spec_transform_type { SPEC_RANDOM_CROP, SPEC_HORIZONTAL_FLIP };
struct spec_transform {
    enum spec_transform_type type;
    int64_t padding; /* random_crop: zeros around, then a crop of the old size */
    double p;        /* horizontal_flip */
};
/* How events become the T frames of a sample; see worker/data/event_frames.h. */
enum spec_split { SPEC_SPLIT_NUMBER, SPEC_SPLIT_TIME, SPEC_SPLIT_DURATION };
enum spec_gaps { SPEC_GAPS_KEEP, SPEC_GAPS_SKIP };
struct spec_frames {
    enum spec_split split_by;
    int64_t duration_us; /* duration: length of a frame */
    enum spec_gaps gaps; /* duration: what becomes of time without events */
    bool own_lengths;    /* duration: a sample ends with its last frame, not with time_steps */
};
enum spec_encoder {
    SPEC_ENCODER_DIRECT,
    SPEC_ENCODER_POISSON, /* from here on: spikes, of values in [0, 1] */
    SPEC_ENCODER_LATENCY,
    SPEC_ENCODER_WEIGHTED_PHASE
};
enum spec_latency { SPEC_LATENCY_LINEAR, SPEC_LATENCY_LOG };
struct spec_dataset {
    char name[64];       /* built-in, or a folder of the data directory: [a-z0-9][a-z0-9_-]* */
    int64_t train_limit; /* 0 = all */
    int64_t test_limit;
    double validation_fraction; /* cut from the training data per class by hash of index */
    struct spec_transform transforms[SPEC_TRANSFORMS_MAX];
    size_t n_transforms;
    double mean[SPEC_CHANNELS_NORM_MAX], std[SPEC_CHANNELS_NORM_MAX]; /* pixel values in [0, 1] */
    size_t n_normalize; /* 0 = none, 1 = same for every channel, else one per channel */
    enum spec_encoder encoder;
    enum spec_latency latency; /* of the latency encoder */
    int64_t phases;            /* of the weighted_phase encoder */
    struct spec_frames frames;
    size_t n_frames; /* 0: not given, and the data are not known to be events */
};

enum spec_optimizer_type { SPEC_SGD, SPEC_ADAM, SPEC_ADAMW, SPEC_RMSPROP };
struct spec_optimizer {
    enum spec_optimizer_type type;
    double lr, weight_decay;
    double momentum;            /* sgd, rmsprop */
    double dampening;           /* sgd */
    bool nesterov;              /* sgd */
    double beta1, beta2;        /* adam, adamw: "betas": [b1, b2] */
    double eps;                 /* all but sgd */
    bool amsgrad;               /* adam, adamw */
    double alpha;               /* rmsprop */
    bool centered;              /* rmsprop */
};
enum spec_schedule_type {
    SPEC_SCHEDULE_CONSTANT,
    SPEC_SCHEDULE_COSINE,
    SPEC_SCHEDULE_STEP,
    SPEC_SCHEDULE_MULTI_STEP,
    SPEC_SCHEDULE_EXPONENTIAL,
    SPEC_SCHEDULE_LINEAR,
    SPEC_SCHEDULE_ONE_CYCLE
};
enum spec_schedule_unit { SPEC_UNIT_EPOCH, SPEC_UNIT_STEP };
enum spec_anneal { SPEC_ANNEAL_COSINE, SPEC_ANNEAL_LINEAR };
#define SPEC_MILESTONES_MAX 64
struct spec_schedule { /* counts are in units; all but one_cycle have unit and warmup */
    enum spec_schedule_type type;
    enum spec_schedule_unit unit;
    int64_t warmup; /* 0 = none */
    double warmup_factor;
    int64_t t_max;     /* cosine; 0 = to the end */
    double eta_min;    /* cosine */
    int64_t step_size; /* step */
    double gamma;      /* step, multi_step, exponential */
    double milestones[SPEC_MILESTONES_MAX]; /* multi_step; a number twice counts twice */
    size_t n_milestones;
    int64_t total; /* linear */
    double start_factor, end_factor;
    double pct_start, div_factor, final_div_factor; /* one_cycle */
    enum spec_anneal anneal;
};
enum spec_loss_type { SPEC_LOSS_MSE, SPEC_LOSS_CROSS_ENTROPY, SPEC_LOSS_TET };
struct spec_loss {
    enum spec_loss_type type;
    bool per_step;          /* mse, cross_entropy: of every time-step's output, then the mean */
    double label_smoothing; /* cross_entropy */
    double lambda, means;   /* tet */
};
enum spec_readout {
    SPEC_READOUT_MEAN,
    SPEC_READOUT_LAST,
    SPEC_READOUT_MAX_MEMBRANE,
    SPEC_READOUT_MAX_ABS_MEMBRANE /* the potential of largest magnitude, with its sign */
};
#define SPEC_GROUPS_MAX 16
struct spec_parameter_group {
    char match[SPEC_PATH_MAX]; /* glob over parameter names: "*.bias" */
    double lr, weight_decay;   /* below 0: the optimiser's */
};
enum spec_stop_metric { SPEC_STOP_ACCURACY, SPEC_STOP_LOSS };
struct spec_early_stop {
    int64_t patience; /* validations without gain; 0 = never */
    enum spec_stop_metric metric;
    double min_delta;
};
enum spec_step_mode { SPEC_STEP_MULTI, SPEC_STEP_SINGLE, SPEC_STEP_CHUNK };
enum spec_numerics { SPEC_NUMERICS_FAST, SPEC_NUMERICS_EXACT };
enum spec_recompute { SPEC_RECOMPUTE_OFF, SPEC_RECOMPUTE_AUTO, SPEC_RECOMPUTE_LEAST };
#define SPEC_RETRY_CLASSES_MAX 2
enum spec_start { SPEC_START_BEST, SPEC_START_LAST };
struct spec_from {
    int64_t experiment; /* whose weights training begins with; 0 = none: initial ones */
    enum spec_start checkpoint;
};
struct spec_train {
    int64_t epochs, batch_size;
    struct spec_optimizer optimizer;
    struct spec_schedule schedule;
    struct spec_loss loss;
    enum spec_readout readout;
    int64_t shards;         /* power of two */
    enum spec_numerics numerics;
    enum spec_recompute recompute;
    int64_t max_steps;  /* 0 = no limit; the schedule still counts epochs */
    double grad_clip;   /* 2-norm over all parameters; 0 = off */
    bool drop_last;
    int64_t eval_every; /* epochs between evaluations on the validation split */
    int64_t accumulate; /* batches an update */
    struct spec_parameter_group groups[SPEC_GROUPS_MAX]; /* the first that matches counts */
    size_t n_groups;
    char freeze[SPEC_GROUPS_MAX][SPEC_PATH_MAX]; /* globs over parameter names */
    size_t n_freeze;
    struct spec_early_stop early_stop;
    double ema_decay; /* of averaged weights; 0 = none */
    enum spec_step_mode step_mode;
    int64_t chunk_steps; /* of SPEC_STEP_CHUNK */
    struct spec_from from;
};

enum spec_monitor_type {
    SPEC_MONITOR_FIRING_RATE,
    SPEC_MONITOR_RASTER,
    SPEC_MONITOR_MEMBRANE,
    SPEC_MONITOR_TIME_CONSTANT,
    SPEC_MONITOR_PSN_WEIGHT,
    SPEC_MONITOR_GRAD_NORM
};
struct spec_monitor {
    enum spec_monitor_type type;
    char layers[16][SPEC_PATH_MAX]; /* globs over layer paths; "*" = all that fit */
    size_t n_layers;
    int64_t every_steps;  /* 0 = not by steps */
    int64_t every_epochs; /* 0 = not by epochs */
    int64_t samples;      /* raster: validation samples 0..samples-1 */
    int64_t neurons;      /* raster, membrane: at most this many, evenly spread */
};

struct spec {
    int64_t version;
    char name[SPEC_NAME_MAX];
    char tags[SPEC_TAGS_MAX][64];
    size_t n_tags;
    int64_t priority; /* -100..100 */
    uint64_t seed;    /* JSON integer 0 .. 2^53 */
    int64_t time_steps;
    struct spec_dataset dataset;
    const struct spec_dataset_info *data; /* what is known of the dataset unopened; NULL */
    struct spec_layer *layers; /* owned; every layer, groups resolved, inputs before readers */
    size_t n_layers;
    struct spec_group *groups; /* owned; an outer one before those inside it */
    size_t n_groups;
    struct spec_train train;
    struct spec_monitor monitors[SPEC_MONITORS_MAX];
    size_t n_monitors;
    int64_t checkpoint_every_steps, checkpoint_keep;
    int64_t threads, memory_mib, time_limit_s; /* memory_mib 0 = the machine's */
    int64_t no_progress_s;                     /* 0 = never */
    int64_t max_attempts;
    char retry_on[SPEC_RETRY_CLASSES_MAX][16]; /* "error", "oom" */
    size_t n_retry_on;
};

/* Fills *out from JSON; on faults *out stays empty and e says how many ("3 fields are wrong").
 * Checks fields, bounds, cross-field rules, duplicate paths, monitor globs that match no layer and,
 * when the dataset's shape is known without reading files, every layer's shape (spec_shapes).
 * Errors: ERR_SPEC (see faults), ERR_NOMEM. */
int spec_parse(const cJSON *json, struct spec *out, struct json_faults *faults, struct err *e);
/* The same with samples of another shape than the dataset's: what a network would cost on data that
 * are not there. data must live as long as out. */
int spec_parse_with(const cJSON *json, const struct spec_dataset_info *data, struct spec *out,
                    struct json_faults *faults, struct err *e);
/* json_parse + spec_parse + size limit. Errors also ERR_SYNTAX, ERR_TOO_LARGE. */
int spec_parse_text(const char *text, size_t length, struct spec *out, struct json_faults *faults,
                    struct err *e);
void spec_deinit(struct spec *s); /* safe on a zeroed spec and when repeated */

/* Every effective value, defaults filled in; parsing it again gives the same spec.
 * Caller owns the result; NULL when out of memory. */
cJSON *spec_normalize(const struct spec *s);
/* SHA-256 over the result fields only (design 4, identity of a spec): label and execution fields
 * do not change it. The hash of the data is added by whoever knows it. Errors: ERR_NOMEM. */
int spec_result_hash(const struct spec *s, uint8_t out[DIGEST_BYTES], struct err *e);
/* JSON Schema 2020-12 of version 1. Caller owns; NULL when out of memory. */
cJSON *spec_schema(void);
/* docs/spec.md's tables, as Markdown. Caller frees with mem_free. */
char *spec_docs(void);

/* "multi", "single" or "chunk:N" of a command line into out's step_mode. Errors: ERR_INVALID. */
int spec_read_step_mode(const char *text, struct spec_train *out, struct err *e);
/* Time-steps of one call of a layer; 0 = all. */
size_t spec_call_steps(const struct spec_train *t);

/* ---- shapes: pure arithmetic, shared by refusal at submission and by the net builder --------- */
struct spec_shape {
    int64_t c, h, w; /* features: c with h = w = 1 */
};
/* What a sample is: one image, events that dataset.frames makes T frames of, or T steps. */
enum spec_data_kind { SPEC_DATA_IMAGES, SPEC_DATA_EVENTS, SPEC_DATA_SEQUENCES };
struct spec_dataset_info {
    const char *name;
    struct spec_shape shape;
    int64_t classes;
    int64_t train_count, test_count; /* official or default numbers */
    bool built_in;                   /* generated, needs no files */
    const char *meaning;
    enum spec_data_kind kind;
    int64_t time_steps_min; /* 0 = any */
};
/* NULL for a user's folder: its shape is known only when it is opened. */
const struct spec_dataset_info *spec_dataset_find(const char *name);
const struct spec_dataset_info *spec_datasets(size_t *count);
/* The neurons of a layer that has some; NULL. */
const struct spec_neuron *spec_layer_neuron(const struct spec_layer *l);
/* Index of input k of layer i, or SPEC_INPUT. */
static inline size_t spec_layer_input(const struct spec_layer *layers, size_t i, size_t k)
{
    if (layers[i].n_inputs == 0) return i == 0 ? SPEC_INPUT : i - 1;
    return layers[i].inputs[k];
}
/* Output shape of one layer; 0, or ERR_SPEC with what is wrong ("groups must divide ..."). */
int spec_layer_shape(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                     struct err *e);
/* A conv2d as it is; a conv1d as the conv2d of height 1 that it is. */
struct spec_conv2d spec_conv_of(const struct spec_layer *l);
/* Learned numbers of one layer (without running statistics); of a recurrent layer's joining point
 * those for the input only: its body says how much comes back. */
int64_t spec_layer_parameters(const struct spec_layer *l, struct spec_shape in, int64_t time_steps);
/* The same of layer i, all of them; shapes: what every layer gives. */
int64_t spec_parameters(const struct spec *s, size_t i, struct spec_shape in,
                        const struct spec_shape *shapes);
/* Why a layer needs other time-steps than the one at hand and those before, so that it cannot be in
 * the body of a recurrent layer; NULL: it does not. */
const char *spec_layer_mixes_time(const struct spec_layer *l);
/* Walks all layers from `in`; adds a fault for every field that does not fit (behind one that
 * leaves no shape: from the next linear layer on), and one when the last output is not `classes`
 * wide. shapes: NULL or n_layers entries. false: out of memory. */
bool spec_shapes(const struct spec *s, struct spec_shape in, int64_t classes,
                 struct spec_shape *shapes, struct json_faults *faults);
/* "*", "?" and literal text against a layer path. */
bool spec_glob(const char *glob, const char *path);

#endif
