/* exposition: see exposition.h. */
#include "server/meter/exposition.h"

#include "common/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

static void put(struct exposition *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct exposition *x, const char *fmt, ...)
{
    if (x->failed) return;
    if (x->capacity - x->length < LINE_MAX_BYTES) {
        const size_t capacity = 2 * x->capacity + 16 * LINE_MAX_BYTES;
        char *grown = mem_realloc_array(x->text, capacity, 1);
        if (grown == NULL) {
            mem_free(x->text);
            *x = (struct exposition){ .failed = true };
            return;
        }
        x->text = grown;
        x->capacity = capacity;
    }
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(x->text + x->length, LINE_MAX_BYTES, fmt, args);
    va_end(args);
    if (n > 0) x->length += n < LINE_MAX_BYTES ? (size_t)n : LINE_MAX_BYTES - 1;
}

static void put_number(struct exposition *x, double v)
{
    if (isnan(v)) put(x, "NaN");
    else if (isinf(v)) put(x, v > 0 ? "+Inf" : "-Inf");
    else if (v == rint(v) && fabs(v) < 9e15) put(x, "%.0f", v);
    else put(x, "%.9g", v);
}

static void put_value(struct exposition *x, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n') put(x, "\\n");
        else if (*c == '"' || *c == '\\') put(x, "\\%c", *c);
        else put(x, "%c", *c);
    }
}

/* le: of a bucket; NAN = none. */
static void put_labels(struct exposition *x, const char *const *labels, double le)
{
    bool open = false;
    for (; labels != NULL && labels[0] != NULL; labels += 2) {
        put(x, "%s%s=\"", open ? "," : "{", labels[0]);
        put_value(x, labels[1]);
        put(x, "\"");
        open = true;
    }
    if (!isnan(le)) {
        put(x, "%sle=\"", open ? "," : "{");
        put_number(x, le);
        put(x, "\"");
        open = true;
    }
    if (open) put(x, "}");
}

void exposition_family(struct exposition *x, const char *name, const char *type, const char *help)
{
    x->family = name;
    put(x, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_sample(struct exposition *x, const char *suffix, const char *const *labels,
                       double le, double value)
{
    put(x, "%s%s", x->family, suffix);
    put_labels(x, labels, le);
    put(x, " ");
    put_number(x, value);
    put(x, "\n");
}

void exposition_sample(struct exposition *x, const char *const *labels, double value)
{
    put_sample(x, "", labels, NAN, value);
}

void exposition_histogram(struct exposition *x, const char *const *labels,
                          const struct histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= h->n_bounds; i++) {
        n += h->counts[i];
        put_sample(x, "_bucket", labels, i < h->n_bounds ? h->bounds[i] : INFINITY, (double)n);
    }
    put_sample(x, "_sum", labels, NAN, h->sum);
    put_sample(x, "_count", labels, NAN, (double)n);
}

void exposition_one(struct exposition *x, const char *name, const char *type, const char *help,
                    double value)
{
    exposition_family(x, name, type, help);
    exposition_sample(x, NULL, value);
}
