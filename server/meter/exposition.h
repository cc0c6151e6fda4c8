/* exposition: the text that Prometheus reads (version 0.0.4): families with help and type, samples
 * with labels. A text that met the end of memory stays NULL. Any thread. */
#ifndef SERVER_EXPOSITION_H
#define SERVER_EXPOSITION_H

#include "server/meter/histogram.h"

#include <stdbool.h>
#include <stddef.h>

struct exposition {
    char *text; /* owned; mem_free */
    size_t length, capacity;
    bool failed;
    const char *family;
};
/* type: "counter", "gauge", "histogram". All samples of a family follow it at once. */
void exposition_family(struct exposition *x, const char *name, const char *type, const char *help);
/* labels: name, value, name, value, ..., NULL; at most 4 pairs. Values may hold any text. */
void exposition_sample(struct exposition *x, const char *const *labels, double value);
void exposition_histogram(struct exposition *x, const char *const *labels,
                          const struct histogram *h);
/* A family of one sample without labels. */
void exposition_one(struct exposition *x, const char *name, const char *type, const char *help,
                    double value);

#endif
