/* check-golden: every golden case whose op exists passes, on every instruction set; a case that
 * cannot run fails by name. */
#include "worker/train/check_golden.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *run_mode(const char *dir, const struct check_golden_options *o,
                      struct check_golden_result *r, int *rc)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct err e = { 0 };
    *rc = check_golden(dir, o, out, r, &e);
    fclose(out);
    return text;
}

static char *run(const char *dir, enum isa isa, struct check_golden_result *r, int *rc)
{
    const struct check_golden_options o = { .threads = 2, .isa = isa };
    return run_mode(dir, &o, r, rc);
}

/* What tests/golden/expected.txt promises of all families in a mode; run from the root of the
 * repository. */
static struct check_golden_result promised(const char *mode)
{
    FILE *f = fopen("tests/golden/expected.txt", "re");
    struct check_golden_result sum = { 0 };
    char line[256], name[16];
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        size_t passed, refused;
        if (sscanf(line, "%15s %*s %zu %zu", name, &passed, &refused) != 3) continue;
        if (strcmp(name, mode) != 0) continue;
        sum.passed += passed;
        sum.refused += refused;
    }
    fclose(f);
    cr_assert_gt(sum.passed, 0);
    return sum;
}

/* All cases on every instruction set, in chunks of `stream` time-steps. */
static void every_isa(const char *mode, size_t stream)
{
    const char *dir = getenv("SPIKED_TEST_GOLDEN");
    if (dir == NULL || dir[0] == '\0') cr_skip("SPIKED_TEST_GOLDEN is not set");
    const struct check_golden_result want = promised(mode);
    enum isa best;
    struct err e = { 0 };
    cr_assert_eq(kernels_choose(&best, &e), 0);
    for (enum isa isa = ISA_GENERIC; isa <= best; isa++) {
        const struct check_golden_options o = { .threads = 2, .isa = isa, .stream_steps = stream };
        struct check_golden_result r = { 0 };
        int rc;
        char *text = run_mode(dir, &o, &r, &rc);
        cr_assert_eq(rc, 0);
        cr_assert_geq(r.passed, want.passed, "only %zu passed", r.passed);
        cr_assert_leq(r.refused, want.refused, "%zu were refused", r.refused);
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
            if (strncmp(line, "FAIL ", 5) == 0)
                cr_assert_not_null(strstr(line, ": no op "), "%s on %s", line, isa_name(isa));
        free(text);
    }
}

/* Goal: the golden vectors hold; what fails names a missing op and nothing else. */
Test(check_golden, every_op_that_exists_passes, .timeout = 120) { every_isa("train", 0); }

/* Goal: so do the forward passes of all that can be evaluated as time-steps come. */
Test(check_golden, every_case_that_can_stream_passes, .timeout = 120) { every_isa("stream", 2); }

static void write_file(const char *dir, const char *name, const void *data, size_t bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

static void make_case(char *dir, const char *index)
{
    unsigned char file[256] = { 0 };
    const char *header = "{\"s/in.x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                         "\"s/up.y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},"
                         "\"s/out.y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}";
    const float values[6] = { -1.0f, 2.0f, 1.0f, 1.0f, 1.0f, 1.0f }; /* out.y[0] should be 0 */
    strcpy(dir, "/tmp/spiked-golden-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    file[0] = (unsigned char)strlen(header);
    memcpy(file + 8, header, strlen(header));
    memcpy(file + 8 + strlen(header), values, sizeof values);
    write_file(dir, "a.safetensors", file, 8 + strlen(header) + sizeof values);
    write_file(dir, "index.json", index, strlen(index));
}

static void remove_case(const char *dir)
{
    char path[128];
    snprintf(path, sizeof path, "%s/a.safetensors", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/index.json", dir);
    unlink(path);
    cr_assert_eq(rmdir(dir), 0);
}

/* Goal: a wrong expected value is a FAIL line with case, tensor and values; an unknown op and an
 * unknown family are failures by name. */
Test(check_golden, failures_are_named)
{
    char dir[40];
    struct check_golden_result r = { 0 };
    int rc;
    make_case(dir,
              "{\"cases\":["
              "{\"name\":\"s\",\"file\":\"a.safetensors\",\"family\":\"surrogate\",\"op\":\"s\","
              "\"hp\":{\"surrogate\":{\"name\":\"atan\"}},\"expected\":{\"out.y\":[0,0,0]}},"
              "{\"name\":\"n\",\"file\":\"a.safetensors\",\"family\":\"neuron\",\"op\":\"XIF\","
              "\"hp\":{},\"expected\":{}},"
              "{\"name\":\"f\",\"file\":\"a.safetensors\",\"family\":\"odd\",\"op\":\"odd\","
              "\"hp\":{},\"expected\":{}}]}");
    char *text = run(dir, ISA_GENERIC, &r, &rc);
    cr_assert_eq(rc, 0);
    cr_assert_eq(r.failed, 3);
    cr_assert_not_null(
        strstr(text, "FAIL s out.y: 1 of 2 values differ, element 0 is 0 instead of 1"), "%s",
        text);
    cr_assert_not_null(strstr(text, "FAIL n: no op XIF"), "%s", text);
    cr_assert_not_null(strstr(text, "FAIL f: no op odd"), "%s", text);
    free(text);
    remove_case(dir);
}

/* Goal: no cases, no index and a broken index are errors. */
Test(check_golden, nothing_to_check_is_an_error)
{
    char dir[40];
    struct check_golden_result r = { 0 };
    int rc;
    make_case(dir, "{\"cases\":[]}");
    free(run(dir, ISA_GENERIC, &r, &rc));
    cr_assert_eq(rc, (int)ERR_DATA);
    remove_case(dir);
    make_case(dir, "{\"cases\":");
    free(run(dir, ISA_GENERIC, &r, &rc));
    cr_assert_neq(rc, 0);
    remove_case(dir);
    free(run("/nonexistent", ISA_GENERIC, &r, &rc));
    cr_assert_eq(rc, (int)ERR_IO);
}
