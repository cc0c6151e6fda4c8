/* UUIDv7 texts: form, time order, validation. */
#include "common/clock.h"
#include "common/uid.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static int64_t now_ms;
static int64_t mono(void)
{
    return 0;
}
static int64_t wall(void)
{
    return now_ms;
}

/* Goal: a text has version 7, variant 10 and the wall clock's milliseconds in front. */
Test(uid_make, carries_version_variant_and_time, .timeout = 5)
{
    clock_override(mono, wall);
    now_ms = INT64_C(0x0123456789ab);
    char text[UID_TEXT_MAX];
    uid_make(text);
    clock_override(NULL, NULL);
    cr_expect(uid_valid(text), "%s", text);
    cr_expect_eq(strncmp(text, "01234567-89ab-7", 15), 0, "%s", text);
    cr_expect_not_null(strchr("89ab", text[19]), "%s", text);
}

/* Goal: texts of one millisecond differ, texts of a later one sort behind. */
Test(uid_make, differs_and_sorts_by_time, .timeout = 5)
{
    clock_override(mono, wall);
    char texts[200][UID_TEXT_MAX];
    for (int i = 0; i < 200; i++) {
        now_ms = INT64_C(1795487467120) + i / 100;
        uid_make(texts[i]);
    }
    clock_override(NULL, NULL);
    for (int i = 0; i < 200; i++)
        for (int j = 0; j < i; j++) {
            cr_assert_str_neq(texts[i], texts[j]);
            if (i / 100 > j / 100) cr_assert_gt(strcmp(texts[i], texts[j]), 0);
        }
}

/* Goal: only lower-case texts of the exact form are valid: they become folder names. */
Test(uid_valid, refuses_other_texts, .timeout = 5)
{
    static const char good[] = "01234567-89ab-7cde-8f01-23456789abcd";
    cr_expect(uid_valid(good));
    static const char *const bad[] = {
        "",
        "..",
        "01234567-89ab-7cde-8f01-23456789abc",
        "01234567-89ab-7cde-8f01-23456789abcde",
        "01234567-89AB-7cde-8f01-23456789abcd",
        "01234567-89ab-7cde-8f01-23456789abcg",
        "01234567089ab-7cde-8f01-23456789abcd",
        "0123456789ab7cde8f0123456789abcd----",
        "../../../../../../../../../etc/passw",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_not(uid_valid(bad[i]), "%s", bad[i]);
}
