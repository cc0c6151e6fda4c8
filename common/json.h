/* json: strict JSON on top of cJSON. Any thread.
 * cJSON alone lets trailing garbage, duplicate keys, bad UTF-8, a BOM, control characters, cut
 * strings and case-insensitive names pass; json_parse refuses them all, with line and column. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32
#define JSON_STRING_MAX (64 * 1024)

/* Whole text must be one JSON value (blanks around it allowed), depth <= JSON_DEPTH_MAX, numbers
 * finite, strings <= JSON_STRING_MAX and without U+0000. Caller frees *out with cJSON_Delete.
 * Errors: ERR_SYNTAX with "line L, column C: ..."; ERR_NOMEM. */
int json_parse(const char *text, size_t length, cJSON **out, struct err *e);

/* A list of faults, each with an RFC 6901 pointer: what a 400 answer shows. */
#define JSON_FAULTS_MAX 64
struct json_fault {
    char pointer[200];
    char code[32];    /* "unknown_field", "wrong_type", "out_of_range", "missing", ... */
    char detail[480]; /* value and what is allowed; "did you mean 'x'?" */
};
struct json_faults {
    size_t count;     /* faults kept, at most JSON_FAULTS_MAX */
    size_t total;     /* faults found */
    struct json_fault items[JSON_FAULTS_MAX];
};
void json_fault_add(struct json_faults *f, const char *pointer, const char *code, const char *fmt,
                    ...) __attribute__((format(printf, 4, 5)));

/* Whether there is one at this pointer. */
bool json_fault_at(const struct json_faults *f, const char *pointer);

/* "not_allowed": given is no `what`; the nearest name, or else all names (as many as fit). */
void json_fault_choice(struct json_faults *f, const char *pointer, const char *given,
                       const char *what, const char *const *names, size_t count);

/* Prints without blanks; whole numbers below 2^53 without a point, others %.17g shortest that
 * reads back; NaN and infinities as the strings "NaN", "Infinity", "-Infinity".
 * Caller frees with mem_free. NULL when out of memory. */
char *json_print(const cJSON *value, size_t *length);
char *json_print_pretty(const cJSON *value, size_t *length);

/* Case-sensitive getters; NULL or the default when absent or of another type. */
const cJSON *json_get(const cJSON *object, const char *name);
const char *json_get_string(const cJSON *object, const char *name, const char *fallback);
double json_get_number(const cJSON *object, const char *name, double fallback);
int64_t json_get_int(const cJSON *object, const char *name, int64_t fallback);
bool json_get_bool(const cJSON *object, const char *name, bool fallback);

#define JSON_NUMBER_MAX 40
/* Writes a double as JSON, in as few digits as bring its bits back, non-finite ones as strings; the
 * length of what is in out. */
size_t json_number_text(double value, char out[JSON_NUMBER_MAX]);
/* A double so that non-finite values become strings (design 1); NULL: out of memory. */
cJSON *json_number(double value);
/* Adds one. false when out of memory. */
bool json_add_number(cJSON *object, const char *name, double value);
/* Adds an integer; beyond 2^53 as a string as well. */
bool json_add_int(cJSON *object, const char *name, int64_t value);
bool json_add_time(cJSON *object, const char *name, int64_t wall_ms); /* RFC 3339; 0 = null */

/* The nearest of `names` (edit distance <= 3 and < half its length), or NULL. */
const char *json_nearest(const char *word, const char *const *names, size_t count);

#endif
