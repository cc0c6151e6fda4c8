/* spec_misfits: what of one layer does not fit, field by field (private to common/spec*.c). Pure;
 * any thread.
 *
 * A text says what is allowed and what was given, "must be odd, got 4": the name of the field goes
 * before it, or is the end of a fault's pointer. */
#ifndef COMMON_SPEC_MISFITS_H
#define COMMON_SPEC_MISFITS_H

#include "common/spec.h"

#define SPEC_MISFITS_MAX 4

struct spec_misfit {
    const char *field; /* NULL: the layer as a whole */
    char text[200];
};
struct spec_misfits {
    struct spec_misfit items[SPEC_MISFITS_MAX]; /* one a field */
    size_t n;
    bool lost; /* no output follows from these fields */
};

/* Adds one; a field is named once. */
void spec_misfit(struct spec_misfits *m, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What the fields of a layer ask of each other, whatever comes in. */
void spec_layer_rules(const struct spec_layer *l, struct spec_misfits *m);
/* Output of a layer whose rules hold for `in`: known in spite of misfits unless they lose it. */
void spec_layer_fit(const struct spec_layer *l, struct spec_shape in, struct spec_shape *out,
                    struct spec_misfits *m);
/* All of them as faults below the layer's pointer; of one place the first only, since layers of a
 * group share it. */
void spec_report_misfits(const struct spec_layer *l, const struct spec_misfits *m,
                         struct json_faults *faults);

#endif
