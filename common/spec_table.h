/* spec_table: the shape of the field tables behind an experiment spec (private to common/spec*.c).
 *
 * A spec is a tree of objects. An object has fields; some objects come in variants chosen by a key
 * ("type"), each with fields of its own. The same tables parse, normalise, hash, make the JSON
 * Schema and the tables of docs/spec.md. Offsets count from the struct an object fills. */
#ifndef COMMON_SPEC_TABLE_H
#define COMMON_SPEC_TABLE_H

#include "common/spec.h"

enum spec_identity {
    SPEC_RESULT,    /* changes the bits of the result: part of result_hash */
    SPEC_EXECUTION, /* how and where it runs */
    SPEC_LABEL      /* what people see */
};

enum spec_field_kind {
    FIELD_INT,       /* int64_t */
    FIELD_NUMBER,    /* double */
    FIELD_BOOL,      /* bool */
    FIELD_STRING,    /* char[size] */
    FIELD_CHOICE,    /* int, index of choices "a|b" */
    FIELD_PAIR,      /* int64_t[2]: a number or [height, width] */
    FIELD_NUMBERS,   /* double[size]: a number or a list, count at count_at; without count_at
                        exactly `size` numbers, defaults in choices */
    FIELD_STRINGS,   /* char[max][size], count at count_at: a list, of `choices` if there are */
    FIELD_OBJECT,    /* object of `object` at offset `at` */
    FIELD_OBJECTS,   /* list: struct of `size` bytes each, at most max, count at count_at */
    FIELD_SURROGATE, /* struct spec_surrogate */
    FIELD_LAYERS,    /* list of layers: read and written by spec_layers.c and spec_write.c */
    FIELD_NEURON,    /* struct spec_neuron on top of network.neuron: read by spec_layers.c */
    FIELD_ONLY       /* nothing stored: the one value in `choices` is allowed; max 1 = in a list */
};

struct spec_object;
struct spec_field {
    const char *name;
    enum spec_field_kind kind;
    enum spec_identity identity;
    size_t at;
    double fallback; /* INT, NUMBER, BOOL, CHOICE, PAIR */
    double min, max;
    bool min_open;
    bool required;
    const char *choices;
    size_t size, count_at; /* count_at of an optional NUMBER: 1 when it was given */
    const struct spec_object *object;
    const char *meaning;
    bool newer;    /* added after specs were hashed: left out of the hash at its default */
    bool optional; /* not written at its default: JSON cannot say it, or a network that does not use
                      the field keeps its hash */
};
struct spec_variant {
    const char *name;
    const struct spec_field *fields;
    size_t n_fields;
    const char *meaning;
};
struct spec_object {
    const char *title;
    const char *key; /* discriminator, or NULL */
    size_t key_at;   /* its int */
    int key_fallback; /* -1 = must be given */
    const struct spec_variant *variants;
    size_t n_variants;
    const struct spec_field *fields; /* of every variant */
    size_t n_fields;
};

/* The tables (spec_fields.c, spec_train.c). Neurons have tables of their own (spec_neuron.c). */
extern const struct spec_object spec_object_top;      /* struct spec */
extern const struct spec_object spec_object_layer;    /* struct spec_layer, without neurons */
extern const struct spec_object spec_object_monitor;  /* struct spec_monitor */
extern const struct spec_object spec_object_train;    /* struct spec_train */

/* One object of JSON into `base`; adds faults. `skip`: names handled by the caller. */
void spec_read_object(const struct spec_object *o, const cJSON *json, const char *pointer,
                      const char *const *skip, size_t n_skip, void *base,
                      struct json_faults *faults);
/* Fills defaults only. */
void spec_default_object(const struct spec_object *o, void *base);
/* Back to JSON, restricted to the identities in `mask` (bit 1 << identity). NULL: out of memory. */
cJSON *spec_write_object(const struct spec_object *o, const void *base, unsigned mask);
#define SPEC_EVERY_IDENTITY 7u

/* One field of the struct at base, read and written along its row. */
void spec_read_field(const struct spec_field *f, const cJSON *v, const char *pointer, void *base,
                     struct json_faults *faults);
cJSON *spec_write_field(const struct spec_field *f, const void *base, unsigned mask);
/* Whether writing leaves the field out: see newer and optional. */
bool spec_left_out(const struct spec_field *f, const void *base, unsigned mask);

/* Checks one number against a row; adds a fault and returns false when it is outside. */
bool spec_check_number(double value, double min, bool min_open, double max, bool whole,
                       const char *pointer, struct json_faults *faults);
void spec_unknown_field(const char *name, const char *const *names, size_t n, const char *pointer,
                        struct json_faults *faults);
/* "/a" + "b" -> "/a/b" with RFC 6901 escapes, cut when too long. */
void spec_pointer(char *out, size_t size, const char *parent, const char *name);
/* Name list of "a|b|c"; returns the count, at most max. */
size_t spec_choices(const char *choices, char names[][32], size_t max);

/* Neurons and surrogates (spec_neuron.c). */
void spec_default_surrogate(struct spec_surrogate *s);
void spec_read_surrogate(const cJSON *json, const char *pointer, struct spec_surrogate *out,
                         struct json_faults *faults);
cJSON *spec_write_surrogate(const struct spec_surrogate *s);
void spec_default_neuron(struct spec_neuron *n, int model);
/* Fields of a neuron object on top of `defaults`; `skip` names are the caller's. */
void spec_read_neuron(const cJSON *json, const char *pointer, const struct spec_neuron *defaults,
                      const char *const *skip, size_t n_skip, struct spec_neuron *out,
                      struct json_faults *faults);
bool spec_write_neuron(cJSON *object, const struct spec_neuron *n);
cJSON *spec_schema_neuron(bool layer);
cJSON *spec_schema_surrogate(void);
extern const struct spec_field spec_serial_fields[]; /* of struct spec_neuron */
extern const size_t spec_serial_fields_count;

/* Rules across fields (spec_rules.c); false: out of memory. */
bool spec_check_rules(const struct spec *s, const cJSON *json, struct json_faults *faults);
void spec_default_monitors(struct spec *s);
/* Whether dataset.frames is part of this spec: it was given, or the data are events. */
void spec_settle_frames(struct spec *s, const cJSON *json);
/* Whether a monitor of this type can record a layer. */
bool spec_monitor_fits(enum spec_monitor_type type, const struct spec_layer *l);

#endif
