/* json: see json.h. The text is walked once by json_check (strict grammar), then cJSON builds
 * it. */
#include "common/json.h"

#include "common/clock.h"
#include "common/json_check.h"
#include "common/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2^53 */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the names: a megabyte may hold an object of 100,000, too many to compare pair by pair. */
static int check_names(const cJSON *object, struct err *e)
{
    const size_t count = (size_t)cJSON_GetArraySize(object);
    if (count < 2) return 0;
    const char **names = mem_alloc(count * sizeof names[0]);
    if (names == NULL) return err_set(e, ERR_NOMEM, "%zu names of a JSON object", count);
    size_t n = 0;
    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        names[n++] = item->string;
    }
    qsort(names, n, sizeof names[0], by_name);
    int rc = 0;
    for (size_t i = 1; rc == 0 && i < n; i++) {
        if (strcmp(names[i - 1], names[i]) != 0) continue;
        rc = err_set(e, ERR_SYNTAX, "the name '%.100s' stands twice in one object", names[i]);
    }
    mem_free(names);
    return rc;
}

static int check_duplicates(const cJSON *value, struct err *e)
{
    if (!cJSON_IsObject(value) && !cJSON_IsArray(value)) return 0;
    int rc = cJSON_IsObject(value) ? check_names(value, e) : 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, value)
    {
        if (rc != 0) break;
        rc = check_duplicates(child, e);
    }
    return rc;
}

int json_parse(const char *text, size_t length, cJSON **out, struct err *e)
{
    int rc = json_check(text, length, e);
    if (rc != 0) return rc;
    const char *end = NULL;
    cJSON *value = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    if (value == NULL) return err_set(e, ERR_NOMEM, "JSON of %zu bytes", length);
    rc = check_duplicates(value, e);
    if (rc != 0) {
        cJSON_Delete(value);
        return rc;
    }
    *out = value;
    return 0;
}

void json_fault_add(struct json_faults *f, const char *pointer, const char *code, const char *fmt,
                    ...)
{
    f->total++;
    if (f->count >= JSON_FAULTS_MAX) return;
    struct json_fault *fault = &f->items[f->count++];
    (void)snprintf(fault->pointer, sizeof fault->pointer, "%s", pointer);
    (void)snprintf(fault->code, sizeof fault->code, "%s", code);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(fault->detail, sizeof fault->detail, fmt, args);
    va_end(args);
}

bool json_fault_at(const struct json_faults *f, const char *pointer)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->items[i].pointer, pointer) == 0) return true;
    return false;
}

void json_fault_choice(struct json_faults *f, const char *pointer, const char *given,
                       const char *what, const char *const *names, size_t count)
{
    const char *near = json_nearest(given, names, count);
    char allowed[400] = "";
    size_t length = 0;
    if (near != NULL) {
        json_fault_add(f, pointer, "not_allowed", "'%.40s' is not a %s; did you mean '%s'?", given,
                       what, near);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const bool fits = length + strlen(names[i]) + sizeof ", ..." < sizeof allowed;
        length += (size_t)snprintf(allowed + length, sizeof allowed - length, "%s%s",
                                   i > 0 ? ", " : "", fits ? names[i] : "...");
        if (!fits) break;
    }
    json_fault_add(f, pointer, "not_allowed", "'%.40s' is not a %s; allowed: %s", given, what,
                   allowed);
}

/* ---- printing -------------------------------------------------------------------------------- */

struct text {
    char *data;
    size_t length, capacity;
    int indent; /* -1 = no blanks */
    bool failed;
};

static void add(struct text *t, const char *s, size_t n)
{
    if (t->failed) return;
    if (t->capacity - t->length < n + 1) {
        size_t capacity = (t->length + n + 1) * 2;
        char *grown = mem_realloc_array(t->data, capacity, 1);
        if (grown == NULL) {
            t->failed = true;
            return;
        }
        t->data = grown;
        t->capacity = capacity;
    }
    memcpy(t->data + t->length, s, n);
    t->length += n;
    t->data[t->length] = '\0';
}

static void add_text(struct text *t, const char *s) { add(t, s, strlen(s)); }

static void add_string(struct text *t, const char *s)
{
    add(t, "\"", 1);
    for (const char *end = s + strlen(s); s < end; s++) {
        unsigned char c = (unsigned char)*s;
        char escaped[8];
        if (c == '"' || c == '\\') {
            add(t, (char[]){ '\\', (char)c }, 2);
        } else if (c < 0x20 || c == 0x7f) {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", c);
            add(t, escaped, 6);
        } else if (c < 0x80) {
            add(t, s, 1);
        } else {
            size_t n = json_utf8_length((const unsigned char *)s, (size_t)(end - s));
            if (n == 0) add(t, "\\ufffd", 6); /* a text that was cut inside a character */
            else add(t, s, n);
            s += n == 0 ? 0 : n - 1;
        }
    }
    add(t, "\"", 1);
}

size_t json_number_text(double value, char out[JSON_NUMBER_MAX])
{
    int n = 0;
    if (!isfinite(value))
        return (size_t)snprintf(out, JSON_NUMBER_MAX, "\"%s\"",
                                isnan(value) ? "NaN"
                                : value > 0  ? "Infinity"
                                             : "-Infinity");
    if (value == floor(value) && fabs(value) < EXACT_INTEGER_MAX)
        return (size_t)snprintf(out, JSON_NUMBER_MAX, "%.0f", value == 0 ? 0.0 : value);
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, JSON_NUMBER_MAX, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    return (size_t)n;
}

static void add_double(struct text *t, double value)
{
    char number[JSON_NUMBER_MAX];
    add(t, number, json_number_text(value, number));
}

static void add_break(struct text *t, int depth)
{
    if (t->indent < 0) return;
    add(t, "\n", 1);
    for (int i = 0; i < depth * t->indent; i++) add(t, " ", 1);
}

static void add_value(struct text *t, const cJSON *v, int depth)
{
    if (cJSON_IsNull(v)) add_text(t, "null");
    if (cJSON_IsTrue(v)) add_text(t, "true");
    if (cJSON_IsFalse(v)) add_text(t, "false");
    if (cJSON_IsNumber(v)) add_double(t, v->valuedouble);
    if (cJSON_IsString(v)) add_string(t, v->valuestring);
    if (cJSON_IsRaw(v)) add_text(t, v->valuestring);
    if (!cJSON_IsArray(v) && !cJSON_IsObject(v)) return;
    bool object = cJSON_IsObject(v);
    add(t, object ? "{" : "[", 1);
    for (const cJSON *child = v->child; child != NULL; child = child->next) {
        add_break(t, depth + 1);
        if (object) {
            add_string(t, child->string);
            add(t, ": ", t->indent < 0 ? 1 : 2);
        }
        add_value(t, child, depth + 1);
        if (child->next != NULL) add(t, ",", 1);
    }
    if (v->child != NULL) add_break(t, depth);
    add(t, object ? "}" : "]", 1);
}

static char *print(const cJSON *value, int indent, size_t *length)
{
    struct text t = { .indent = indent };
    add_value(&t, value, 0);
    if (t.failed || t.data == NULL) {
        mem_free(t.data);
        return NULL;
    }
    if (length != NULL) *length = t.length;
    return t.data;
}

char *json_print(const cJSON *value, size_t *length) { return print(value, -1, length); }
char *json_print_pretty(const cJSON *value, size_t *length) { return print(value, 2, length); }

/* ---- getters and builders -------------------------------------------------------------------- */

const cJSON *json_get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

const char *json_get_string(const cJSON *object, const char *name, const char *fallback)
{
    const cJSON *v = json_get(object, name);
    return cJSON_IsString(v) ? v->valuestring : fallback;
}

double json_get_number(const cJSON *object, const char *name, double fallback)
{
    const cJSON *v = json_get(object, name);
    return cJSON_IsNumber(v) ? v->valuedouble : fallback;
}

int64_t json_get_int(const cJSON *object, const char *name, int64_t fallback)
{
    const cJSON *v = json_get(object, name);
    bool whole = cJSON_IsNumber(v) && v->valuedouble == floor(v->valuedouble) &&
                 fabs(v->valuedouble) <= EXACT_INTEGER_MAX;
    return whole ? (int64_t)v->valuedouble : fallback;
}

bool json_get_bool(const cJSON *object, const char *name, bool fallback)
{
    const cJSON *v = json_get(object, name);
    return cJSON_IsBool(v) ? cJSON_IsTrue(v) : fallback;
}

cJSON *json_number(double value)
{
    if (isfinite(value)) return cJSON_CreateNumber(value);
    return cJSON_CreateString(isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

bool json_add_number(cJSON *object, const char *name, double value)
{
    cJSON *number = json_number(value);
    if (number != NULL && cJSON_AddItemToObject(object, name, number)) return true;
    cJSON_Delete(number);
    return false;
}

bool json_add_int(cJSON *object, const char *name, int64_t value)
{
    if (value <= (int64_t)EXACT_INTEGER_MAX && value >= -(int64_t)EXACT_INTEGER_MAX) {
        return cJSON_AddNumberToObject(object, name, (double)value) != NULL;
    }
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

bool json_add_time(cJSON *object, const char *name, int64_t wall_ms)
{
    if (wall_ms == 0) return cJSON_AddNullToObject(object, name) != NULL;
    char text[CLOCK_RFC3339_MAX];
    clock_rfc3339(wall_ms, text);
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

/* Levenshtein distance of words up to WORD_MAX letters; WORD_MAX when one is longer. */
#define WORD_MAX 64
static size_t edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[WORD_MAX + 1];
    if (la >= WORD_MAX || lb >= WORD_MAX) return WORD_MAX;
    for (size_t j = 0; j <= lb; j++) row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[lb];
}

const char *json_nearest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t best_distance = 4;
    for (size_t i = 0; i < count; i++) {
        size_t d = edit_distance(word, names[i]);
        if (d < best_distance && 2 * d < strlen(word)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
