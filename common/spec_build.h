/* spec_build: layers and groups appended to a spec while it is read (private to common/spec*.c).
 *
 * Lists, blocks and presets all end here: spec.layers holds every layer in an order in which inputs
 * come before their readers, spec.groups how they were written. One thread a builder. */
#ifndef COMMON_SPEC_BUILD_H
#define COMMON_SPEC_BUILD_H

#include "common/spec_table.h"

#define SPEC_DEPTH_MAX 8 /* groups inside groups */

struct spec_builder {
    struct spec *s;
    struct json_faults *faults;
    struct spec_neuron neuron; /* network.neuron: the default of every neuron */
    size_t layers_room, groups_room, depth;
    size_t recurrent; /* bodies of recurrent layers around what is read */
    bool out_of_memory, too_many;
    bool normal; /* the spec says everything: fields that change nothing are taken silently */
};
/* Where a list stands: what its next layer reads. */
struct spec_place {
    size_t node;      /* SPEC_INPUT before the first */
    int64_t channels; /* 0: not known before the data is opened */
};
struct spec_place spec_build_begin(const struct spec *s);

/* Appends a layer (type, path, pointer and fields) that reads *at, which it is then. false: memory
 * ran out, or there are too many layers. */
bool spec_build_add(struct spec_builder *b, const struct spec_layer *l, struct spec_place *at);
/* Where two branches meet; *at is there afterwards. */
bool spec_build_meet(struct spec_builder *b, const struct spec_layer *head, int connect,
                     size_t body, size_t shortcut, struct spec_place *at);
/* A group from the next layer on; SIZE_MAX when memory ran out. close: up to the last layer. */
size_t spec_build_open(struct spec_builder *b, const struct spec_layer *head);
void spec_build_body_end(struct spec_builder *b, size_t group);
void spec_build_close(struct spec_builder *b, size_t group);
/* Layers of a sew_block or spiking_block. */
void spec_build_block(struct spec_builder *b, const struct spec_layer *head,
                      struct spec_place *at);

/* Layers of a multi_dimensional_attention. */
void spec_build_attention(struct spec_builder *b, const struct spec_layer *head,
                          struct spec_place *at);

/* spec_idle.c: faults at fields of `json` that change nothing: of a neuron n that was read there
 * (own: not the default of others); `bias` of a recurrent layer. */
bool spec_says_everything(const cJSON *json);
void spec_refuse_idle(struct spec_builder *b, const cJSON *json, const char *pointer,
                      const struct spec_neuron *n, bool own);
void spec_refuse_idle_bias(struct spec_builder *b, const cJSON *json, const struct spec_layer *l);

/* "prefix" + "name"; a fault at pointer when it is too long. */
bool spec_path_join(char out[SPEC_PATH_MAX], const char *prefix, const char *name,
                    const char *pointer, struct json_faults *faults);

/* network.layers (spec_layers.c): every item of a list, paths below prefix. */
void spec_read_layers(struct spec_builder *b, const cJSON *list, const char *pointer,
                      const char *prefix, struct spec_place *at);

#endif
