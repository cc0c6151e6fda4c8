/* The table of metric series and the rule for their names. */
#include "common/series.h"

#include <criterion/criterion.h>
#include <string.h>

/* Goal: fixed names win over layer patterns, layer patterns take any path, others are unknown. */
Test(series_find, fixed_names_and_layer_patterns, .timeout = 5)
{
    static const struct {
        const char *name, *pattern;
    } cases[] = {
        { "train/loss", "train/loss" },           { "train/grad_norm", "train/grad_norm" },
        { "conv1/grad_norm", "LAYER/grad_norm" }, { "2/firing_rate", "LAYER/firing_rate" },
        { "stem.lif/tau", "LAYER/tau" },          { "sys/step_ms", "sys/step_ms" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct series_info *info = series_find(cases[i].name);
        cr_assert_not_null(info, "%s", cases[i].name);
        cr_expect_str_eq(info->pattern, cases[i].pattern);
    }
    static const char *const unknown[] = { "",      "loss",   "/tau",  "tau",
                                           "LAYER", "x/tau/", "x/Tau", "train/losses" };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        cr_expect_null(series_find(unknown[i]), "%s", unknown[i]);
}

/* Goal: wall-clock and memory series are not called deterministic, all others are. */
Test(series_table, only_sys_series_vary_from_run_to_run, .timeout = 5)
{
    const struct series_info *rows;
    const size_t n = series_table(&rows);
    cr_assert_gt(n, 10);
    for (size_t i = 0; i < n; i++)
        cr_expect_eq(rows[i].deterministic, strncmp(rows[i].pattern, "sys/", 4) != 0, "%s",
                     rows[i].pattern);
}

/* Goal: every row finds itself, has a unit and a meaning, and stands once. */
Test(series_table, rows_are_complete_and_unique, .timeout = 5)
{
    const struct series_info *rows;
    const size_t n = series_table(&rows);
    for (size_t i = 0; i < n; i++) {
        cr_expect_eq(series_find(rows[i].pattern), &rows[i], "%s", rows[i].pattern);
        cr_expect(rows[i].unit[0] != '\0' && rows[i].meaning[0] != '\0');
        cr_expect(series_name_valid(rows[i].pattern, strlen(rows[i].pattern)));
    }
}

/* Goal: names have 1 to 128 of the allowed bytes; a zero byte is none of them. */
Test(series_name_valid, letters_and_length, .timeout = 5)
{
    char lengthy[SERIES_NAME_MAX + 1];
    memset(lengthy, 'a', sizeof lengthy);
    cr_expect(series_name_valid("aZ09_./:-", 9));
    cr_expect(series_name_valid(lengthy, SERIES_NAME_MAX));
    cr_expect_not(series_name_valid(lengthy, SERIES_NAME_MAX + 1));
    cr_expect_not(series_name_valid("", 0));
    cr_expect_not(series_name_valid("a\0b", 3));
    static const char *const bad[] = { "a b", "a\n", "a\"", "\xC3\xA9", "a\\b", "a,b", "<a>" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_not(series_name_valid(bad[i], strlen(bad[i])), "%s", bad[i]);
}
