/* spec_recurrent: what a recurrent layer asks of its body, and what it gives to it. Pure; any
 * thread. */
#include "common/spec.h"

const char *spec_layer_mixes_time(const struct spec_layer *l)
{
    switch (l->type) {
    case SPEC_BATCH_NORM:
    case SPEC_THRESHOLD_BATCH_NORM:
    case SPEC_TEMPORAL_BATCH_NORM: return "its statistics are those of all time-steps";
    case SPEC_TEMPORAL_ATTENTION:
    case SPEC_CHANNEL_ATTENTION:
    case SPEC_SPATIAL_ATTENTION: return "its factors are made of all time-steps";
    case SPEC_NEURON: {
        size_t count;
        const struct spec_neuron_model *m = &spec_neuron_models(&count)[l->u.neuron.model];
        if (m->serial) return NULL;
        return (m->traits & SPEC_WINDOW) != 0 ? SPEC_NEEDS_WINDOW : SPEC_NEEDS_ALL;
    }
    default: return NULL;
    }
}

int64_t spec_parameters(const struct spec *s, size_t i, struct spec_shape in,
                        const struct spec_shape *shapes)
{
    const struct spec_layer *l = &s->layers[i];
    const int64_t own = spec_layer_parameters(l, in, s->time_steps);
    if (l->type != SPEC_RECURRENT || l->u.recurrent.connect != SPEC_ALL_TO_ALL) return own;
    return own + in.c * shapes[i + l->u.recurrent.body].c;
}
