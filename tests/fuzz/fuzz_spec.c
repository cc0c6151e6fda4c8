/* fuzz_spec: any bytes as an experiment spec. What is accepted must have a normal form that is
 * accepted, is its own normal form and has the same hash; what is refused must say why. Run by
 * libFuzzer. */
#include "common/mem.h"
#include "common/spec.h"

#include <stdlib.h>
#include <string.h>

static char *normal_text(const struct spec *s)
{
    cJSON *json = spec_normalize(s);
    char *text = json_print(json, NULL);
    cJSON_Delete(json);
    if (text == NULL) abort();
    return text;
}

static void check_accepted(const struct spec *first)
{
    struct spec second = { 0 };
    struct json_faults faults;
    struct err e = { 0 };
    uint8_t a[DIGEST_BYTES], b[DIGEST_BYTES];
    char *once = normal_text(first);
    if (spec_parse_text(once, strlen(once), &second, &faults, &e) != 0) abort();
    char *twice = normal_text(&second);
    if (strcmp(once, twice) != 0) abort();
    if (spec_result_hash(first, a, &e) != 0 || spec_result_hash(&second, b, &e) != 0) abort();
    if (memcmp(a, b, sizeof a) != 0) abort();
    spec_deinit(&second);
    mem_free(once);
    mem_free(twice);
}

/* Faults are answered as JSON, so they must print to something our own parser takes. */
static void check_faults(const struct json_faults *faults)
{
    if (faults->total == 0 || faults->count > faults->total) abort();
    for (size_t i = 0; i < faults->count; i++) {
        const struct json_fault *f = &faults->items[i];
        if (f->pointer[0] != '\0' && f->pointer[0] != '/') abort();
        if (f->code[0] == '\0' || f->detail[0] == '\0') abort();
        cJSON *text = cJSON_CreateString(f->detail), *back = NULL;
        struct err e = { 0 };
        size_t length;
        char *printed = json_print(text, &length);
        if (json_parse(printed, length, &back, &e) != 0) abort();
        mem_free(printed);
        cJSON_Delete(text);
        cJSON_Delete(back);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spec s = { 0 };
    struct json_faults faults;
    struct err e = { 0 };
    const int rc = spec_parse_text((const char *)data, size, &s, &faults, &e);
    if (rc == 0) check_accepted(&s);
    else if (s.layers != NULL || e.text[0] == '\0') abort();
    else if (rc == ERR_SPEC) check_faults(&faults);
    spec_deinit(&s);
    return 0;
}
