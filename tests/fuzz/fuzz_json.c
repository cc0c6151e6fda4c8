/* fuzz_json: any bytes as JSON. What is accepted must print to text that is accepted again and
 * means the same; what is refused must say where. Run by libFuzzer. */
#include "common/json.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Same kinds, names, strings and numbers to the last bit (but -0 prints as 0). */
static bool same(const cJSON *a, const cJSON *b)
{
    for (; a != NULL && b != NULL; a = a->next, b = b->next) {
        if (a->type != b->type || !same_text(a->string, b->string)) return false;
        if (cJSON_IsString(a) && !same_text(a->valuestring, b->valuestring)) return false;
        if (cJSON_IsNumber(a) && a->valuedouble != b->valuedouble) return false;
        if (!same(a->child, b->child)) return false;
    }
    return a == b;
}

/* Parses `text`, which must be good and mean `want`. */
static void check_again(const char *text, size_t length, const cJSON *want)
{
    cJSON *value = NULL;
    struct err e = { 0 };
    if (json_parse(text, length, &value, &e) != 0) abort();
    if (!same(value, want)) abort();
    cJSON_Delete(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *value = NULL;
    struct err e = { 0 };
    if (json_parse((const char *)data, size, &value, &e) != 0) {
        if (value != NULL || e.code != ERR_SYNTAX || e.text[0] == '\0') abort();
        return 0;
    }
    size_t length, pretty_length;
    char *text = json_print(value, &length), *pretty = json_print_pretty(value, &pretty_length);
    if (text == NULL || pretty == NULL || length != strlen(text)) abort();
    check_again(text, length, value);
    check_again(pretty, pretty_length, value);
    mem_free(text);
    mem_free(pretty);
    cJSON_Delete(value);
    return 0;
}
