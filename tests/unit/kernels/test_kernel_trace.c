/* Which kernels ran: their names, and that each of them is held against a twin somewhere. Run from
 * the root of the repository. */
#include "tests/unit/kernels/kernel_fixture.h"
#include "worker/kernels/kernel_trace.h"

#include <stdio.h>
#include <string.h>

static bool file_says(const char *path, const char *words)
{
    static char text[1 << 16];
    FILE *f = fopen(path, "re");
    cr_assert_not_null(f, "%s", path);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    cr_assert_lt(n, sizeof text - 1, "%s is longer than the test reads", path);
    text[n] = '\0';
    return strstr(text, words) != NULL;
}

/* Goal: tests/golden/kernels.txt names for every counted kernel, once, a test that exists. */
Test(kernel_trace, every_kernel_has_a_test_against_its_twin, .timeout = 10)
{
    char line[256], kernel[64], path[128], test[64], words[80];
    size_t rows[KERNEL_ID_COUNT] = { 0 };
    FILE *f = fopen("tests/golden/kernels.txt", "re");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#') continue;
        cr_assert_eq(sscanf(line, "%63s %127s %63s", kernel, path, test), 3, "%s", line);
        snprintf(words, sizeof words, ", %s", test);
        cr_expect(file_says(path, words), "%s: no test %s", path, test);
        size_t id = 0;
        while (id < KERNEL_ID_COUNT && strcmp(kernel_name(id), kernel) != 0) id++;
        cr_assert_lt(id, KERNEL_ID_COUNT, "there is no kernel %s", kernel);
        rows[id]++;
    }
    fclose(f);
    for (size_t i = 0; i < KERNEL_ID_COUNT; i++)
        cr_expect_eq(rows[i], 1, "%s: %zu tests are named", kernel_name(i), rows[i]);
}

/* Goal: a call counts under the form of its tensor; without a trace nothing is counted. */
Test(kernel_trace, calls_count_by_form, .timeout = 10)
{
    struct kernel_trace trace = { 0 };
    struct tensor_view x = view_filled(tensor_make(TENSOR_BITS, 1, 2, 20, 2, 2), 1, 0.5);
    struct tensor_view y = view_make(tensor_make(TENSOR_F32, 1, 2, 20, 2, 2));
    EACH_CONTEXT(kc, true)
    {
        tensor_expand(&kc, &x.desc, x.data, &y.desc, y.data);
        struct kernel_ctx traced = kc;
        traced.trace = &trace;
        tensor_expand(&traced, &x.desc, x.data, &y.desc, y.data);
        tensor_expand(&traced, &y.desc, y.data, &y.desc, y.data);
    }
    cr_expect_gt(trace.calls[KERNEL_tensor_expand_bits], 0);
    cr_expect_eq(trace.calls[KERNEL_tensor_expand_bits], trace.calls[KERNEL_tensor_expand_floats]);
    cr_expect_eq(trace.calls[KERNEL_tensor_expand_counts], 0);
    free(x.data);
    free(y.data);
}

/* Goal: paths are taken by name or from SPIKED_PATH; another name is refused with those there
 * are. */
Test(kernel_trace, paths_by_name, .timeout = 10)
{
    enum kernel_path path = KERNEL_PATH_AUTO;
    struct err e = { 0 };
    cr_expect(kernels_choose_path("dense", &path, &e) == 0 && path == KERNEL_PATH_DENSE);
    cr_expect(kernels_choose_path(NULL, &path, &e) == 0 && path == KERNEL_PATH_AUTO);
    setenv("SPIKED_PATH", "dense", 1);
    cr_expect(kernels_choose_path(NULL, &path, &e) == 0 && path == KERNEL_PATH_DENSE);
    cr_expect(kernels_choose_path("auto", &path, &e) == 0 && path == KERNEL_PATH_AUTO);
    cr_expect(kernels_choose_path("winograd", &path, &e) == 0 && path == KERNEL_PATH_WINOGRAD);
    cr_expect(kernels_choose_path("event", &path, &e) == 0 && path == KERNEL_PATH_EVENT);
    cr_expect_eq(kernels_choose_path("sparse", &path, &e), (int)ERR_INVALID);
    cr_expect_not_null(strstr(e.text, "auto, event, dense or winograd"));
}
