/* spec_docs: the tables of docs/spec.md, made from the field tables. Any thread. */
#include "common/mem.h"
#include "common/spec_presets.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *data; /* NULL after memory ran out */
    size_t length;
    bool failed;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
    char part[1024];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(part, sizeof part, fmt, args);
    va_end(args);
    const size_t more = n < (int)sizeof part ? (size_t)n : sizeof part - 1;
    char *grown = t->failed ? NULL : mem_realloc_array(t->data, t->length + more + 1, 1);
    if (grown == NULL) {
        t->failed = true;
        return;
    }
    memcpy(grown + t->length, part, more + 1);
    t->data = grown;
    t->length += more;
}

static const char *kind_word(const struct spec_field *f)
{
    switch (f->kind) {
    case FIELD_INT: return "whole number";
    case FIELD_NUMBER: return "number";
    case FIELD_BOOL: return "true or false";
    case FIELD_STRING: return "text";
    case FIELD_CHOICE: return "word";
    case FIELD_ONLY: return f->max > 0 ? "list of words" : "word";
    case FIELD_PAIR: return "whole number or [height, width]";
    case FIELD_NUMBERS: return "number or list";
    case FIELD_STRINGS: return f->choices != NULL ? "list of words" : "list of texts";
    case FIELD_OBJECT: return "object";
    case FIELD_OBJECTS: return "list of objects";
    case FIELD_SURROGATE: return "surrogate";
    case FIELD_LAYERS: return "list of layers";
    case FIELD_NEURON: return "neuron";
    }
    return "";
}

static void add_range(struct text *t, const struct spec_field *f)
{
    const bool number = f->kind == FIELD_INT || f->kind == FIELD_NUMBER || f->kind == FIELD_PAIR;
    if (number && f->max == (double)(1LL << 53)) add(t, "%g ... 2^53", f->min);
    else if (number) add(t, "%s%g ... %g", f->min_open ? "> " : "", f->min, f->max);
    if (f->kind == FIELD_CHOICE || f->kind == FIELD_ONLY ||
        (f->kind == FIELD_STRINGS && f->choices != NULL)) {
        char names[16][32];
        const size_t n = spec_choices(f->choices, names, 16);
        for (size_t i = 0; i < n; i++) add(t, "%s`%s`", i > 0 ? ", " : "", names[i]);
    }
    if (f->kind == FIELD_STRING) add(t, "at most %zu bytes", f->size - 1);
    if ((f->kind == FIELD_STRINGS && f->choices == NULL) || f->kind == FIELD_OBJECTS)
        add(t, "at most %g", f->max);
}

static void add_default(struct text *t, const struct spec_field *f)
{
    char names[16][32];
    if (f->required) add(t, "**required**");
    else if (f->optional) add(t, "not set");
    else if (f->kind == FIELD_BOOL) add(t, "%s", f->fallback != 0 ? "true" : "false");
    else if (f->kind == FIELD_INT || f->kind == FIELD_NUMBER || f->kind == FIELD_PAIR)
        add(t, "%g", f->fallback);
    else if (f->kind == FIELD_CHOICE && spec_choices(f->choices, names, 16) > 0)
        add(t, "%s", names[(int)f->fallback]);
    else if (f->kind == FIELD_NUMBERS && f->choices != NULL) {
        for (const char *c = f->choices; *c != '\0'; c++)
            add(t, "%s", *c == '|' ? ", " : (char[]){ *c, 0 });
    }
}

static const char *identity_word(enum spec_identity i)
{
    return i == SPEC_RESULT ? "result" : i == SPEC_EXECUTION ? "execution" : "label";
}

static void add_rows(struct text *t, const struct spec_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct spec_field *f = &fields[i];
        add(t, "| `%s` | %s | ", f->name, kind_word(f));
        add_range(t, f);
        add(t, " | ");
        add_default(t, f);
        add(t, " | %s | %s |\n", identity_word(f->identity), f->meaning);
    }
}

static void add_head(struct text *t)
{
    add(t,
        "\n| field | kind | allowed | default | identity | meaning |\n|---|---|---|---|---|---|\n");
}

static void add_object(struct text *t, const struct spec_object *o)
{
    add(t, "\n## %s\n", o->title);
    if (o->n_fields > 0) {
        add_head(t);
        add_rows(t, o->fields, o->n_fields);
    }
    for (size_t v = 0; v < o->n_variants; v++) {
        add(t, "\n### `\"%s\": \"%s\"`\n%s.\n", o->key, o->variants[v].name,
            o->variants[v].meaning);
        if (o->variants[v].n_fields == 0) continue;
        add_head(t);
        add_rows(t, o->variants[v].fields, o->variants[v].n_fields);
    }
    for (size_t i = 0; i < o->n_fields; i++)
        if (o->fields[i].object != NULL) add_object(t, o->fields[i].object);
}

/* Choices of a parameter; the bar would end a cell of the table. */
static void add_choice(struct text *t, const struct spec_param *p)
{
    char names[8][32];
    const size_t n = spec_choices(p->choices, names, 8);
    add(t, "%s (", names[(size_t)p->fallback]);
    for (size_t i = 0; i < n; i++) add(t, "%s%s", i > 0 ? ", " : "", names[i]);
    add(t, "): %s", p->meaning);
}

static void add_params(struct text *t, const struct spec_param *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        add(t, "%s`%s` = ", i > 0 ? "; " : "", p[i].name);
        if (p[i].kind == SPEC_PARAM_FLAG)
            add(t, "%s: %s", p[i].fallback != 0 ? "true" : "false", p[i].meaning);
        else if (p[i].kind == SPEC_PARAM_CHOICE)
            add_choice(t, &p[i]);
        else
            add(t, "%g (%s%g ... %g%s): %s", p[i].fallback, p[i].min_open ? "> " : "", p[i].min,
                p[i].max, p[i].kind == SPEC_PARAM_WHOLE ? ", whole" : "", p[i].meaning);
    }
}

static void add_neurons(struct text *t)
{
    size_t n;
    const struct spec_neuron_model *m = spec_neuron_models(&n);
    add(t, "\n## Neurons\n\n| `model` | meaning | own parameters |\n|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        add(t, "| `%s` | %s | ", m[i].name, m[i].meaning);
        add_params(t, m[i].params, m[i].n_params);
        add(t, " |\n");
    }
    add(t, "\nSerial neurons (all but `gated_lif`, which has `scope` alone, those that never "
           "spike, which have `decay_input` alone and no surrogate, and the `psn` family) "
           "also take `v_reset` (a number, default 0; `null` is a soft reset) and:\n");
    add_head(t);
    add_rows(t, spec_serial_fields, spec_serial_fields_count);
    const struct spec_surrogate_kind *s = spec_surrogate_kinds(&n);
    add(t, "\n## Surrogates\n\nA name, or an object `{\"type\": ..., parameters}`.\n\n"
           "| `type` | meaning | parameters |\n|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        add(t, "| `%s` | %s | ", s[i].name, s[i].meaning);
        add_params(t, s[i].params, s[i].n_params);
        add(t, " |\n");
    }
}

/* The table that says whose names the paths are, then the fields of every preset. */
static void add_presets(struct text *t)
{
    static const char *const inits[] = { [SPEC_INIT_UNIFORM] = "uniform",
                                         [SPEC_INIT_KAIMING_NORMAL] = "kaiming_normal",
                                         [SPEC_INIT_SMALL_NORMAL] = "small_normal" };
    const struct spec_object *o = &spec_object_preset;
    add(t, "\n## Presets\n\n"
           "`\"network\": {\"preset\": ..., \"neuron\": {...}}` stands for a list of layers; the\n"
           "normalised spec (`spiked-worker plan SPEC.json --expand`) has that list, and\n"
           "`plan SPEC.json --input 2x128x128 --classes 11` counts its parameters for samples of\n"
           "any shape, without data. Paths, and\n"
           "so the names of parameters, are those of the class. `neuron` lies on top of the\n"
           "preset's own (`v_reset` 0, `detach_reset`, `atan` with `alpha` 2). First weights of\n"
           "convolutions and linear layers (their `init`) are those that the class begins with.\n\n"
           "| `preset` | class | paths | neuron | init |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < o->n_variants; i++) {
        const struct spec_preset_info *p = &spec_preset_infos[i];
        add(t, "| `%s` | %s | %s | `%s` | `%s`, `%s` |\n", o->variants[i].name, p->class_name,
            p->paths, p->neuron, inits[p->conv], inits[p->linear]);
    }
    add_object(t, o);
}

char *spec_docs(void)
{
    struct text t = { 0 };
    add(&t, "# The experiment spec, version %d\n\n", SPEC_VERSION);
    add(&t,
        "Made from the tables in the code: `build/spiked spec-docs >docs/spec.md`. Unknown\n"
        "fields are errors; all faults are reported at once, each with its JSON pointer. So are\n"
        "fields that change nothing where they stand, unless they say their default or the spec\n"
        "is a normalised one.\n"
        "*Identity*: `result` fields change the bits of the result and are part of\n"
        "`result_hash`; `execution` fields say how it runs; `label` fields are for people.\n\n");
    add(&t, "`network` is an object: `layers`, a list of layers from input to output, each with\n"
            "a `type` and an optional `name` (letters, digits, `_`; default: its index); and\n"
            "`neuron`, defaults for every neuron. The path of a layer is its name; it names\n"
            "parameters (`<path>.weight`), monitors and series. Inside a group (`residual`,\n"
            "`sequential`, blocks) it follows the group's path and a dot: `layer1.0.conv1`;\n"
            "layers of a shortcut stand below `<path>.downsample`. A block's layers are called\n"
            "`conv1`, `bn1`, `sn1`, `conv2`, ..., `downsample.0`, `downsample.1` and\n"
            "`downsample_sn`. Where two branches meet has the group's own path.\n");
    add_object(&t, &spec_object_top);
    add_object(&t, &spec_object_layer);
    add_presets(&t);
    add_neurons(&t);
    if (!t.failed) return t.data;
    mem_free(t.data);
    return NULL;
}
