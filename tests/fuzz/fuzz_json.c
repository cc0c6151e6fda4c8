/* fuzz_json: any bytes as JSON. What is accepted must print to text that is accepted again and
 * means the same; what is refused must say where. Run by libFuzzer. */
#include "common/json.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

/* Parses `text`, which must be good, and compares its print with `want`. */
static void check_again(const char *text, size_t length, const char *want)
{
    cJSON *value = NULL;
    struct err e = { 0 };
    if (json_parse(text, length, &value, &e) != 0) abort();
    char *again = json_print(value, NULL);
    if (again == NULL || strcmp(again, want) != 0) abort();
    mem_free(again);
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
    check_again(text, length, text);
    check_again(pretty, pretty_length, text);
    mem_free(text);
    mem_free(pretty);
    cJSON_Delete(value);
    return 0;
}
