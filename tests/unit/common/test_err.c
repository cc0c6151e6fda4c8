/* The error value: texts, wrapping, the closed table of codes. */
#include "common/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Goal: err_set stores code and text and returns the code. */
Test(err_set, stores_code_and_text, .timeout = 5)
{
    struct err e = { .source_code = 9 };
    cr_expect_eq(err_set(&e, ERR_CONFLICT, "row %d", 4), ERR_CONFLICT);
    cr_expect_eq(e.code, ERR_CONFLICT);
    cr_expect_eq(e.source_code, 0);
    cr_expect_str_eq(e.text, "row 4");
    err_clear(&e);
    cr_expect(e.code == ERR_OK && e.source_code == 0 && e.text[0] == '\0');
}

/* Goal: err_errno names the reason and keeps the number. */
Test(err_errno, names_the_reason, .timeout = 5)
{
    struct err e;
    cr_expect_eq(err_errno(&e, ENOENT, "open %s", "x"), ERR_IO);
    cr_expect_eq(e.source_code, ENOENT);
    cr_expect_str_eq(e.text, "open x: No such file or directory");
}

/* Goal: err_wrap puts its text in front and keeps both codes. */
Test(err_wrap, puts_context_in_front, .timeout = 5)
{
    struct err e;
    (void)err_errno(&e, EACCES, "inner");
    cr_expect_eq(err_wrap(&e, "outer %d", 2), ERR_IO);
    cr_expect_eq(e.source_code, EACCES);
    cr_expect_str_eq(e.text, "outer 2: inner: Permission denied");
}

/* Goal: texts longer than the value are cut and always end. */
Test(err_wrap, long_texts_are_cut, .timeout = 5)
{
    char lengthy[2 * ERR_TEXT_MAX];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    struct err e;
    (void)err_set(&e, ERR_INVALID, "%s", lengthy);
    cr_expect_eq(strlen(e.text), ERR_TEXT_MAX - 1);
    (void)err_wrap(&e, "front");
    cr_expect_eq(strncmp(e.text, "front: xxx", 10), 0);
    cr_expect_eq(strlen(e.text), ERR_TEXT_MAX - 1);
    (void)err_wrap(&e, "%s", lengthy);
    (void)err_errno(&e, EIO, "%s", lengthy);
    cr_expect_eq(strlen(e.text), ERR_TEXT_MAX - 1);
}

/* Goal: every code has a unique name that leads back, an HTTP status, an exit code, a meaning. */
Test(err_table, names_round_trip, .timeout = 5)
{
    for (int i = 0; i < ERR_CODE_COUNT; i++) {
        const enum err_code code = (enum err_code)i;
        cr_expect_eq(err_from_name(err_name(code)), code, "%s", err_name(code));
        const int status = err_http_status(code);
        cr_expect(code == ERR_OK ? status == 200 : status >= 400 && status < 600);
        cr_expect_eq(err_exit_code(code) == 0, code == ERR_OK);
        cr_expect_leq(err_exit_code(code), 255);
        cr_expect_gt(strlen(err_meaning(code)), 5);
    }
}

/* Goal: codes and names from outside the table become "internal". */
Test(err_table, unknown_codes_are_internal, .timeout = 5)
{
    cr_expect_eq(err_from_name("nonsense"), ERR_INTERNAL);
    cr_expect_eq(err_from_name(""), ERR_INTERNAL);
    cr_expect_str_eq(err_name((enum err_code)ERR_CODE_COUNT), "internal");
    cr_expect_str_eq(err_name((enum err_code) - 1), "internal");
    cr_expect_eq(err_http_status((enum err_code)1000), 500);
}
