/* twin_kinds: the table of the twin's layers, see twin_kinds.h. */
#include "tests/twin/twin_kinds.h"

#include <assert.h>

static const struct twin_kind *const kinds[SPEC_LAYER_TYPE_COUNT] = {
    [SPEC_CONV2D] = &twin_conv,
    [SPEC_CONV1D] = &twin_conv,
    [SPEC_CONV_TRANSPOSE2D] = &twin_conv_transpose,
    [SPEC_LINEAR] = &twin_linear,
    [SPEC_BATCH_NORM] = &twin_batch_norm,
    [SPEC_THRESHOLD_BATCH_NORM] = &twin_batch_norm,
    [SPEC_TEMPORAL_BATCH_NORM] = &twin_temporal_norm,
    [SPEC_GROUP_NORM] = &twin_group_norm,
    [SPEC_MAX_POOL2D] = &twin_max_pool,
    [SPEC_AVG_POOL2D] = &twin_avg_pool,
    [SPEC_ADAPTIVE_AVG_POOL2D] = &twin_adaptive_pool,
    [SPEC_FLATTEN] = &twin_flatten,
    [SPEC_DROPOUT] = &twin_dropout,
    [SPEC_VOTING] = &twin_voting,
    [SPEC_RESIDUAL] = &twin_residual,
    [SPEC_UPSAMPLE] = &twin_upsample,
    [SPEC_RELU] = &twin_relu,
    [SPEC_SYNAPSE_FILTER] = &twin_synapse_filter,
    [SPEC_TEMPORAL_ATTENTION] = &twin_attention,
    [SPEC_CHANNEL_ATTENTION] = &twin_attention,
    [SPEC_SPATIAL_ATTENTION] = &twin_spatial_attention,
    [SPEC_NEURON] = &twin_neuron,
    [SPEC_RECURRENT] = &twin_recurrent,
};

const struct twin_kind *twin_kind(enum spec_layer_type type)
{
    assert(kinds[type] != NULL);
    return kinds[type];
}
