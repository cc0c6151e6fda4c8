/* Strict parsing, faithful printing and helpers of json. Every text is given to the parser in a
 * heap block of its exact size without a final zero, so that a sanitizer sees each byte read too
 * much. */
#include "common/json.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static struct err fault;

static cJSON *parse_bytes(const char *text, size_t length)
{
    fault = (struct err){ 0 };
    char *exact = mem_alloc(length);
    memcpy(exact, text, length);
    cJSON *out = NULL;
    const int rc = json_parse(exact, length, &out, &fault);
    mem_free(exact);
    cr_assert_eq(rc == 0, out != NULL, "output is written on success and only then");
    cr_assert_eq(rc, (int)fault.code);
    return out;
}

static cJSON *parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void refused_bytes(const char *text, size_t length, const char *why)
{
    cJSON *value = parse_bytes(text, length);
    cr_expect_null(value, "accepted: %s", why);
    cJSON_Delete(value);
    cr_expect_eq(fault.code, ERR_SYNTAX, "%s: code %s", why, err_name(fault.code));
}

static void accepted(const char *text)
{
    cJSON *value = parse(text);
    cr_expect_not_null(value, "refused: %.60s: %s", text, fault.text);
    cJSON_Delete(value);
}

static char *repeated(const char *part, size_t times, const char *last)
{
    const size_t n = strlen(part);
    char *text = mem_alloc(n * times + strlen(last) + 1);
    for (size_t i = 0; i < times; i++) memcpy(text + n * i, part, n);
    memcpy(text + n * times, last, strlen(last) + 1);
    return text;
}

/* Goal: what is no single JSON value of the grammar is refused. */
Test(json_parse, grammar_faults_are_refused, .timeout = 10)
{
    static const char *const texts[] = {
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "{} {}",
        "1 2",
        "{}x",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "]",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{1:2}",
        "{\"a\":1 \"b\":2}",
        "// c\n1",
        "/* c */1",
        "+1",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "\"a",
        "\"\\x41\"",
        "\"\\",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\v1",
        "\f1",
        "undefined",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused_bytes(texts[i], strlen(texts[i]), texts[i]);
}

/* Goal: the grammar's corners are accepted. */
Test(json_parse, grammar_corners_are_accepted, .timeout = 10)
{
    static const char *const texts[] = {
        "null",
        " true\r\n\t",
        "0",
        "-0",
        "-0.5e-3",
        "1E+2",
        "5e-324",
        "1e308",
        "[]",
        "{}",
        "[[],{}]",
        "{\"\":0}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"\\uD83D\\uDE00\"",
        "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
        "{\"a\":1,\"A\":2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) accepted(texts[i]);
}

/* Goal: byte order mark, bad UTF-8, lone surrogates, control characters and U+0000 are refused. */
Test(json_parse, text_must_be_clean_utf8, .timeout = 10)
{
    static const char *const texts[] = {
        "\xEF\xBB\xBF{}",
        "\"\x80\"",
        "\"\xC0\xAF\"",
        "\"\xC1\xBF\"",
        "\"\xE0\x80\xAF\"",
        "\"\xED\xA0\x80\"",
        "\"\xF0\x80\x80\xAF\"",
        "\"\xF4\x90\x80\x80\"",
        "\"\xF5\x80\x80\x80\"",
        "\"\xFE\"",
        "\"\xC3\"",
        "\"\xE2\x82\"",
        "\"\xE2\x82",
        "\"\xF0\x9F\x98",
        "\"\\uD83D\"",
        "\"\\uDE00\"",
        "\"\\uD83D\\u0041\"",
        "\"\\uD83Dx\"",
        "\"\\u0000\"",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"a\x01z\"",
        "\"a\x1Fz\"",
        "{\"\x80\":1}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused_bytes(texts[i], strlen(texts[i]), texts[i]);
    refused_bytes("\"a\0b\"", 5, "zero byte in a string");
    refused_bytes("1\0", 2, "zero byte after the value");
    refused_bytes("[1\0]", 4, "zero byte between values");
}

/* Goal: a name that stands twice in one object is refused, at any depth; cases differ. */
Test(json_parse, duplicate_names_are_refused, .timeout = 10)
{
    static const char *const texts[] = {
        "{\"a\":1,\"a\":2}",       "{\"a\":1,\"b\":2,\"a\":1}", "[{\"b\":{\"c\":1,\"c\":1}}]",
        "{\"a\":1,\"\\u0061\":2}", "{\"\":1,\"\":2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused_bytes(texts[i], strlen(texts[i]), texts[i]);
}

/* Goal: an object with a hundred thousand names, as a megabyte may hold, is read in seconds. */
Test(json_parse, wide_objects_are_read_quickly, .timeout = 10)
{
    const size_t n = 100000;
    char *text = mem_alloc(n * 16 + 2);
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, 16, "%c\"%zu\":1", i == 0 ? '{' : ',', i);
    text[at++] = '}';
    cJSON *value = parse_bytes(text, at);
    cr_assert_not_null(value, "%s", fault.text);
    cJSON_Delete(value);
    mem_free(text);
}

/* Goal: 32 levels are accepted, 33 are refused, and so are a million without exhausting the
 * stack. */
Test(json_parse, depth_ends_at_32, .timeout = 10)
{
    static const struct {
        size_t levels;
        bool good;
    } cases[] = { { JSON_DEPTH_MAX - 1, true }, { JSON_DEPTH_MAX, false }, { 1000000, false } };
    for (size_t i = 0; i < 3; i++) {
        char *open = repeated("[", cases[i].levels, "0"),
             *close = repeated("]", cases[i].levels, "");
        char *text = mem_printf("%s%s", open, close);
        cJSON *value = parse(text);
        cr_expect_eq(value != NULL, cases[i].good, "%zu levels", cases[i].levels);
        cr_expect(cases[i].good || strstr(fault.text, "deeper than 32") != NULL);
        cJSON_Delete(value);
        mem_free(open);
        mem_free(close);
        mem_free(text);
    }
}

/* Goal: strings end at 64 KiB. */
Test(json_parse, long_strings_are_refused, .timeout = 10)
{
    for (size_t more = 0; more < 2; more++) {
        char *letters = repeated("x", JSON_STRING_MAX - 1 + more, "");
        char *text = mem_printf("\"%s\"", letters);
        cJSON *value = parse(text);
        cr_expect_eq(value != NULL, more == 0, "%zu letters", strlen(letters));
        cJSON_Delete(value);
        mem_free(text);
        mem_free(letters);
    }
}

/* Goal: a fault is told with the line and the column where it stands. */
Test(json_parse, faults_have_line_and_column, .timeout = 10)
{
    static const struct {
        const char *text, *where;
    } cases[] = {
        { "x", "line 1, column 1:" },
        { "{\n  \"a\": 01\n}", "line 2, column 8:" },
        { "[1,\n2,\n3 4]", "line 3, column 3:" },
        { "{}\n\n  x", "line 3, column 3:" },
        { "\n\"abc", "line 2, column 1:" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_expect_null(parse(cases[i].text));
        cr_expect_eq(strncmp(fault.text, cases[i].where, strlen(cases[i].where)), 0, "%s",
                     fault.text);
    }
}

/* Goal: every prefix of a valid text is handled without reading past its end. */
Test(json_parse, cut_texts_are_refused, .timeout = 10)
{
    static const char text[] =
        "{\"a\":[true,false,null,-1.5e+3,\"\\u00e9\\uD83D\\uDE00\xE2\x82\xAC\"]}";
    for (size_t n = 0; n + 1 < sizeof text; n++) refused_bytes(text, n, "prefix");
    accepted(text);
}

/* Goal: numbers print so that they read back with the same bits, whole ones without a point. */
Test(json_print, numbers_read_back, .timeout = 10)
{
    static const struct {
        double value;
        const char *text; /* NULL = any that reads back */
    } cases[] = {
        { 0, "0" },
        { -0.0, "0" },
        { 1, "1" },
        { -17, "-17" },
        { 0.1, "0.1" },
        { 0.5, "0.5" },
        { 1e-5, NULL },
        { 5e-324, NULL },
        { 1.0 / 3, NULL },
        { 1.7976931348623157e308, NULL },
        { 1e300, NULL },
        { 9007199254740991.0, "9007199254740991" },
        { 9007199254740994.0, NULL },
        { 0.30000000000000004, "0.30000000000000004" },
        { 1e15, "1000000000000000" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *number = cJSON_CreateNumber(cases[i].value);
        size_t length = 0;
        char *text = json_print(number, &length);
        cr_assert_eq(length, strlen(text));
        if (cases[i].text != NULL) cr_expect_str_eq(text, cases[i].text);
        cJSON *back = parse(text);
        cr_assert_not_null(back, "%s", text);
        cr_expect(back->valuedouble == cases[i].value, "%s", text);
        cJSON_Delete(back);
        cJSON_Delete(number);
        mem_free(text);
    }
}

/* Goal: what is not finite becomes a string, in print and in json_add_number. */
Test(json_print, numbers_that_are_not_finite_become_strings, .timeout = 10)
{
    cJSON *o = cJSON_CreateObject();
    cr_assert(json_add_number(o, "a", NAN) && json_add_number(o, "b", INFINITY) &&
              json_add_number(o, "c", -INFINITY) && json_add_number(o, "d", 0.25));
    (void)cJSON_AddItemToObject(o, "e", cJSON_CreateNumber(NAN));
    char *text = json_print(o, NULL);
    cr_expect_str_eq(
        text, "{\"a\":\"NaN\",\"b\":\"Infinity\",\"c\":\"-Infinity\",\"d\":0.25,\"e\":\"NaN\"}");
    mem_free(text);
    cJSON_Delete(o);
}

/* Goal: integers beyond 2^53 become strings, times are RFC 3339 and 0 is null. */
Test(json_print, integers_and_times_keep_their_value, .timeout = 10)
{
    cJSON *o = cJSON_CreateObject();
    cr_assert(json_add_int(o, "a", INT64_C(9007199254740991)) && json_add_int(o, "b", INT64_MAX) &&
              json_add_int(o, "c", INT64_MIN) && json_add_time(o, "t", 0) &&
              json_add_time(o, "u", INT64_C(1795487467120)));
    char *text = json_print(o, NULL);
    cr_expect_str_eq(text, "{\"a\":9007199254740991,\"b\":\"9223372036854775807\","
                           "\"c\":\"-9223372036854775808\",\"t\":null,"
                           "\"u\":\"2026-11-24T02:31:07.120Z\"}");
    mem_free(text);
    cJSON_Delete(o);
}

/* Goal: print and parse keep every string and the order of names, with and without blanks. */
Test(json_print, strings_round_trip, .timeout = 10)
{
    static const char text[] =
        "{\"z\":\"\\\"\\\\\\u0001\\n\",\"a\":[\"\xC3\xA9\",{},[],true,null]}";
    cJSON *value = parse(text);
    char *once = json_print(value, NULL), *pretty = json_print_pretty(value, NULL);
    cJSON *again = parse(once), *also = parse(pretty);
    char *twice = json_print(again, NULL), *thrice = json_print(also, NULL);
    cr_expect_str_eq(once,
                     "{\"z\":\"\\\"\\\\\\u0001\\u000a\",\"a\":[\"\xC3\xA9\",{},[],true,null]}");
    cr_expect_str_eq(once, twice);
    cr_expect_str_eq(once, thrice);
    cr_expect_not_null(strstr(pretty, "\n  \"z\": "));
    char *const texts[] = { once, pretty, twice, thrice };
    for (size_t i = 0; i < 4; i++) mem_free(texts[i]);
    cJSON_Delete(value);
    cJSON_Delete(again);
    cJSON_Delete(also);
}

/* Goal: a detail that was cut inside a character still prints as text our own parser accepts. */
Test(json_print, cut_characters_never_make_bad_utf8, .timeout = 10)
{
    static const char *const cut[] = { "ab\xC3", "\xE2\x82", "\xF0\x9F\x98' tail", "\x80z\xFF" };
    for (size_t i = 0; i < 4; i++) {
        cJSON *value = cJSON_CreateString(cut[i]);
        char *text = json_print(value, NULL);
        cJSON *back = parse(text);
        cr_expect_not_null(back, "case %zu: %s", i, fault.text);
        cJSON_Delete(back);
        cJSON_Delete(value);
        mem_free(text);
    }
}

/* Goal: every failed allocation while printing gives NULL and leaks nothing. */
Test(json_print, memory_faults_give_null, .timeout = 10)
{
    cJSON *value = parse(
        "{\"a\":[1,2,3],\"b\":\"text that needs a buffer to grow more than once\"}");
    bool failed = true;
    size_t n = 1;
    for (; failed && n < 50; n++) {
        mem_fail_after(n);
        char *text = json_print(value, NULL);
        mem_fail_after(0);
        failed = text == NULL;
        mem_free(text);
    }
    cr_expect_gt(n, 2);
    cr_expect_lt(n, 50);
    cJSON_Delete(value);
}

/* Goal: getters are case-sensitive, typed, and fall back. */
Test(json_get, types_and_cases_matter, .timeout = 10)
{
    cJSON *o = parse("{\"s\":\"x\",\"n\":1.5,\"i\":7,\"b\":true,\"big\":1e300,\"z\":null}");
    cr_expect_str_eq(json_get_string(o, "s", "-"), "x");
    cr_expect_str_eq(json_get_string(o, "S", "-"), "-");
    cr_expect_str_eq(json_get_string(o, "n", "-"), "-");
    cr_expect(json_get_number(o, "n", 0) == 1.5);
    cr_expect(json_get_number(o, "s", 9) == 9);
    cr_expect_eq(json_get_int(o, "i", -1), 7);
    cr_expect_eq(json_get_int(o, "n", -1), -1);
    cr_expect_eq(json_get_int(o, "big", -1), -1);
    cr_expect(json_get_bool(o, "b", false));
    cr_expect(json_get_bool(o, "i", true));
    cr_expect(cJSON_IsNull(json_get(o, "z")));
    cr_expect_null(json_get(o, "y"));
    cr_expect_null(json_get(NULL, "y"));
    cJSON_Delete(o);
}

/* Goal: faults beyond the list are counted, and long texts are cut to their fields. */
Test(json_fault_add, list_is_bounded_and_counts_on, .timeout = 10)
{
    static struct json_faults f;
    char *lengthy = repeated("/abcdefgh", 100, "");
    for (int i = 0; i < JSON_FAULTS_MAX + 5; i++)
        json_fault_add(&f, lengthy, "code", "%s", lengthy);
    cr_expect_eq(f.count, JSON_FAULTS_MAX);
    cr_expect_eq(f.total, JSON_FAULTS_MAX + 5);
    cr_expect_eq(strlen(f.items[JSON_FAULTS_MAX - 1].pointer), sizeof f.items[0].pointer - 1);
    cr_expect_eq(strlen(f.items[0].detail), sizeof f.items[0].detail - 1);
    mem_free(lengthy);
}

/* Goal: a slip of the pen finds the name that was meant, other words find none. */
Test(json_nearest, finds_slips_only, .timeout = 10)
{
    static const char *const names[] = { "epochs", "batch_size", "optimizer", "lr" };
    cr_expect_str_eq(json_nearest("epoch", names, 4), "epochs");
    cr_expect_str_eq(json_nearest("bacth_size", names, 4), "batch_size");
    cr_expect_str_eq(json_nearest("optimiser", names, 4), "optimizer");
    cr_expect_null(json_nearest("colour", names, 4));
    cr_expect_null(json_nearest("xy", names, 4));
    cr_expect_null(json_nearest("abr", names, 4), "half of the word is wrong");
    cr_expect_null(json_nearest("", names, 4));
    char *lengthy = repeated("epochs", 30, "");
    cr_expect_null(json_nearest(lengthy, names, 4));
    mem_free(lengthy);
}

/* Goal: a word that is not known is answered with the one that was meant or with those there are,
 * as far as they fit. */
Test(json_fault_choice, says_what_is_allowed, .timeout = 10)
{
    static const char *const few[] = { "cosine", "step" };
    static struct json_faults f;
    const char *many[60];
    json_fault_choice(&f, "/type", "cosin", "schedule", few, 2);
    json_fault_choice(&f, "/type", "linear", "schedule", few, 2);
    for (size_t i = 0; i < 60; i++) many[i] = "a_long_name";
    json_fault_choice(&f, "/type", "x", "layer", many, 60);
    cr_expect_str_eq(f.items[0].detail, "'cosin' is not a schedule; did you mean 'cosine'?");
    cr_expect_str_eq(f.items[1].detail, "'linear' is not a schedule; allowed: cosine, step");
    const char *cut = f.items[2].detail;
    cr_expect_str_eq(cut + strlen(cut) - 5, ", ...");
    cr_expect_str_eq(f.items[2].code, "not_allowed");
}
