/* JSON merge patch: every case of RFC 7396, appendix A, and what a spec needs. */
#include "server/api/merge_patch.h"

#include "common/json.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <string.h>

static cJSON *parsed(const char *text)
{
    cJSON *json = NULL;
    struct err e = { 0 };
    cr_assert(json_parse(text, strlen(text), &json, &e) == 0, "%s: %s", text, e.text);
    return json;
}

static void expect(const char *target, const char *patch, const char *result)
{
    cJSON *p = parsed(patch), *got = merge_patch(parsed(target), p);
    cr_assert_not_null(got);
    char *text = json_print(got, NULL);
    cr_expect_str_eq(text, result, "%s with %s", target, patch);
    mem_free(text);
    cJSON_Delete(got);
    cJSON_Delete(p);
}

/* Goal: the table of the RFC. */
Test(merge_patch, the_cases_of_the_rfc, .timeout = 2)
{
    static const char *const rows[][3] = {
        { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
        { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
        { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
        { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
        { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
        { "{\"a\":\"foo\"}", "null", "null" },
        { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
        { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
        { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
        { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(rows[i][0], rows[i][1], rows[i][2]);
}

/* Goal: names differ by case, and an empty patch changes nothing. */
Test(merge_patch, names_are_exact, .timeout = 2)
{
    expect("{\"a\":1}", "{\"A\":2}", "{\"a\":1,\"A\":2}");
    expect("{\"a\":{\"b\":1}}", "{}", "{\"a\":{\"b\":1}}");
}
