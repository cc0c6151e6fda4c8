/* results: see results.h. */
#include "tests/support/results.h"

#include "common/digest.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Values of a series, without the wall clock; caller frees. */
static char *series_of(const struct service *s, int64_t id, const char *name)
{
    char path[160];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/metrics/%s?format=csv",
                   (long long)id, name);
    struct answer a = http_get(s, path);
    cr_assert(a.status == 200, "%s: %ld", path, a.status);
    char *out = a.body;
    char *to = out;
    for (const char *line = a.body; *line != '\0';) { /* step,time,value -> step,value */
        const char *end = line + strcspn(line, "\n"),
                   *first = memchr(line, ',', (size_t)(end - line));
        const char *second = memchr(first + 1, ',', (size_t)(end - first - 1));
        memmove(to, line, (size_t)(first - line));
        to += first - line;
        memmove(to, second, (size_t)(end + 1 - second));
        to += end + 1 - second;
        line = end + 1;
    }
    *to = '\0';
    a.body = NULL;
    answer_free(&a);
    return out;
}

static void weights_digest(const struct service *s, int64_t id, char out[DIGEST_HEX_MAX])
{
    char path[120];
    uint8_t digest[DIGEST_BYTES];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/artifacts/weights.safetensors",
                   (long long)id);
    struct answer a = http_get(s, path);
    cr_assert(a.status == 200 && a.length > 1000);
    digest_bytes(a.body, a.length, digest);
    digest_hex(digest, out);
    answer_free(&a);
}

void expect_same_on(const struct service *s, int64_t a, const struct service *t, int64_t b)
{
    static const char *const names[] = { "train/loss",    "train/accuracy", "val/loss",
                                         "test/accuracy", "2/firing_rate",  "2/tau" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *x = series_of(s, a, names[i]), *y = series_of(t, b, names[i]);
        cr_assert(strcmp(x, y) == 0, "%s differs:\n%.300s\n%.300s", names[i], x, y);
        mem_free(x);
        mem_free(y);
    }
    char x[DIGEST_HEX_MAX], y[DIGEST_HEX_MAX];
    weights_digest(s, a, x);
    weights_digest(t, b, y);
    cr_assert(strcmp(x, y) == 0, "weights differ");
}

void expect_same(const struct service *s, int64_t a, int64_t b) { expect_same_on(s, a, s, b); }
