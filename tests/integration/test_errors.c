/* Stories of bad input: every refusal is precise, and nothing that was accepted is lost. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define EXPERIMENTS "/api/v1/experiments"

static void expect_problem(struct answer a, long status, const char *code, const char *pointer,
                           const char *words)
{
    cr_assert(a.status == status, "status %ld, wanted %ld: %s", a.status, status, a.body);
    cr_assert(strstr(a.head, "application/problem+json") != NULL, "%s", a.head);
    cr_assert(strstr(a.head, "X-Request-Id: r-") != NULL, "%s", a.head);
    cr_assert(strcmp(json_get_string(a.json, "code", ""), code) == 0, "%s", a.body);
    bool found = pointer == NULL;
    const cJSON *fault;
    cJSON_ArrayForEach(fault, json_get(a.json, "errors"))
        found |= pointer != NULL && strcmp(json_get_string(fault, "pointer", ""), pointer) == 0;
    cr_assert(found, "no fault at %s: %s", pointer, a.body);
    cr_assert(words == NULL || strstr(a.body, words) != NULL, "'%s' is missing: %s", words, a.body);
    answer_free(&a);
}

/* Goal: malformed JSON is refused with its place, and a spec with all of its faults at once. */
Test(errors, specs_are_refused_with_every_fault)
{
    struct service s = { 0 };
    service_start(&s);
    expect_problem(http_post(&s, EXPERIMENTS, "{\"version\": 1,\n \"name\": }"), 400, "bad_json",
                   NULL, "line 2, column 10");
    expect_problem(http_post(&s, EXPERIMENTS, ""), 400, "bad_json", NULL, NULL);
    char *spec = small_spec(1, "\"optimzer\": 1, \"seed\": -1");
    expect_problem(http_post(&s, EXPERIMENTS, spec), 400, "spec_invalid", "/seed", NULL);
    expect_problem(http_post(&s, EXPERIMENTS, spec), 400, "spec_invalid", "/optimzer", NULL);
    mem_free(spec);
    const char *shape =
        "{\"version\": 1, \"dataset\": {\"name\": \"glyphs\"}, \"network\": {\"layers\": ["
        "{\"type\": \"conv2d\", \"out_channels\": 4, \"kernel_size\": 40},"
        "{\"type\": \"flatten\"}, {\"type\": \"linear\", \"out_features\": 10}]}}";
    expect_problem(http_post(&s, EXPERIMENTS, shape), 400, "spec_invalid",
                   "/network/layers/0/kernel_size", "must be at most 28, got 40");
    const char *typo =
        "{\"version\": 1, \"dataset\": {\"name\": \"glyphs\"}, \"network\": {\"layers\": ["
        "{\"type\": \"convd2\"}]}, \"train\": {\"epochs\": 0, \"loss\": {\"type\": \"mes\"}}}";
    expect_problem(http_post(&s, EXPERIMENTS, typo), 400, "spec_invalid", "/network/layers/0/type",
                   "conv2d");
    expect_problem(http_post(&s, EXPERIMENTS, typo), 400, "spec_invalid", "/train/epochs", NULL);
    struct answer a = http_get(&s, EXPERIMENTS);
    cr_assert(json_get_int(a.json, "total", -1) == 0, "a refused spec was stored: %s", a.body);
    answer_free(&a);
    service_end(&s);
}

/* Goal: paths, methods, parameters and bodies that make no sense are named. */
Test(errors, requests_are_refused_by_name)
{
    struct service s = { 0 };
    service_start(&s);
    expect_problem(http_get(&s, "/api/v1/nothing"), 404, "not_found", NULL, "/api/v1/nothing");
    expect_problem(http_get(&s, EXPERIMENTS "/7"), 404, "not_found", NULL, "experiment 7");
    expect_problem(http_get(&s, EXPERIMENTS "?state=sleeping"), 400, "invalid", NULL, "sleeping");
    expect_problem(http_get(&s, EXPERIMENTS "?limit=0"), 400, "invalid", NULL, "from 1 to 200");
    expect_problem(http_get(&s, EXPERIMENTS "?colour=red"), 400, "invalid", NULL, "colour");
    expect_problem(http_get(&s, "/api/v1/events?topics=all"), 400, "invalid", NULL, "all");
    struct answer a = http_call(&s, "PUT", EXPERIMENTS, "{}", NULL);
    cr_assert(strstr(a.head, "Allow: POST, GET") != NULL, "%s", a.head);
    expect_problem(a, 405, "method_not_allowed", NULL, NULL);
    expect_problem(http_get(&s, "/worker/v1/spec"), 404, "not_found", NULL, NULL);
    char *large = mem_alloc(1200001);
    memset(large, ' ', 1200000);
    large[1200000] = '\0';
    const char *const no_wait[] = { "Expect:", NULL };
    expect_problem(http_call(&s, "POST", EXPERIMENTS, large, no_wait), 413, "too_large", NULL,
                   "1048576");
    mem_free(large);
    service_end(&s);
}

/* Goal: other sites' pages and other names get nothing, and a browser gets words instead of

 * JSON. */
Test(errors, foreign_pages_are_kept_out)
{
    struct service s = { 0 };
    service_start(&s);
    const char *const host[] = { "Host: evil.example", NULL };
    expect_problem(http_call(&s, "GET", EXPERIMENTS, NULL, host), 421, "misdirected", NULL,
                   "evil.example");
    const char *const origin[] = { "Origin: http://evil.example", "Content-Type: application/json",
                                   NULL };
    expect_problem(http_call(&s, "POST", EXPERIMENTS, "{}", origin), 403, "forbidden", NULL,
                   "evil.example");
    char own[80];
    (void)snprintf(own, sizeof own, "Origin: %s", s.base);
    const char *const form[] = { own, "Content-Type: text/plain", NULL };
    expect_problem(http_call(&s, "POST", EXPERIMENTS, "{}", form), 403, "forbidden", NULL,
                   "application/json");
    const char *const browser[] = { "Host: labserver", "Accept: text/html", NULL };
    struct answer a = http_call(&s, "GET", "/", NULL, browser);
    cr_assert(a.status == 421 && strstr(a.head, "text/html") != NULL &&
                  strstr(a.body, "ssh -N -L") != NULL,
              "%ld %s", a.status, a.body);
    answer_free(&a);
    service_end(&s);
}

/* Goal: at the bound of the queue the next experiment is refused and those before it stay. */
Test(errors, a_full_queue_refuses_and_keeps)
{
    struct service s = { .extra = { "--max-queued-per-user", "3" } };
    service_start(&s);
    char *spec = small_spec(50, NULL);
    (void)submit(&s, spec); /* may start at once */
    for (int i = 0; i < 3; i++) (void)submit(&s, spec);
    struct answer a = http_post(&s, EXPERIMENTS, spec);
    if (a.status == 201) { /* the first one was claimed meanwhile */
        answer_free(&a);
        a = http_post(&s, EXPERIMENTS, spec);
    }
    cr_assert(strstr(a.head, "Retry-After:") != NULL, "%s", a.head);
    expect_problem(a, 429, "queue_full", NULL, "3 experiments");
    a = http_get(&s, EXPERIMENTS);
    const int64_t total = json_get_int(a.json, "total", 0);
    answer_free(&a);
    cr_assert(total >= 4);
    mem_free(spec);
    service_stop(&s);
    service_restart(&s);
    a = http_get(&s, EXPERIMENTS);
    cr_assert(json_get_int(a.json, "total", 0) == total, "%s", a.body);
    answer_free(&a);
    for (int64_t id = 1; id <= total; id++) {
        char path[64];
        (void)snprintf(path, sizeof path, EXPERIMENTS "/%lld/cancel", (long long)id);
        a = http_post(&s, path, "{\"grace_s\": 1}");
        answer_free(&a);
        cr_assert(wait_state(&s, id, "cancelled", 15));
    }
    service_end(&s);
}

/* Goal: a key repeats its answer, and refuses another body. */
Test(errors, an_idempotency_key_submits_once)
{
    struct service s = { 0 };
    service_start(&s);
    const char *const key[] = { "Idempotency-Key: run-7", NULL };
    char *spec = small_spec(1, NULL), *other = small_spec(2, NULL);
    struct answer a = http_call(&s, "POST", EXPERIMENTS, spec, key);
    struct answer b = http_call(&s, "POST", EXPERIMENTS, spec, key);
    cr_assert(a.status == 201 && b.status == 201);
    cr_assert(json_get_int(a.json, "id", 0) == json_get_int(b.json, "id", -1), "%s", b.body);
    expect_problem(http_call(&s, "POST", EXPERIMENTS, other, key), 422, "idempotency_mismatch",
                   NULL, "run-7");
    cr_assert(wait_state(&s, json_get_int(a.json, "id", 0), "succeeded", 60));
    answer_free(&a);
    answer_free(&b);
    mem_free(spec);
    mem_free(other);
    service_end(&s);
}

/* Goal: one user's submissions are limited a second and at once, and say how they stand; other
 * requests are not. */
Test(errors, submissions_have_a_rate)
{
    struct service s = { .extra = { "--submit-rate", "1", "--submit-burst", "2" } };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    struct answer a = http_post(&s, EXPERIMENTS "?dry_run=true", spec);
    cr_assert(a.status == 200 && strstr(a.head, "RateLimit-Limit: 2\r\n") != NULL &&
                  strstr(a.head, "RateLimit-Remaining: 1\r\n") != NULL &&
                  strstr(a.head, "RateLimit-Reset: 1\r\n") != NULL,
              "%ld %s", a.status, a.head);
    answer_free(&a);
    a = http_post(&s, EXPERIMENTS "?dry_run=true", spec);
    answer_free(&a);
    a = http_post(&s, EXPERIMENTS, spec);
    cr_assert(strstr(a.head, "Retry-After:") != NULL &&
                  strstr(a.head, "RateLimit-Remaining: 0\r\n") != NULL,
              "%s", a.head);
    expect_problem(a, 429, "rate_limited", NULL, "1 a second, and 2 at once");
    expect_problem(http_post(&s, EXPERIMENTS "/9/cancel", "{}"), 404, "not_found", NULL, NULL);
    expect_problem(http_post(&s, EXPERIMENTS "/9/clone", "{}"), 404, "not_found", NULL, NULL);
    sleep_ms(1100);
    a = http_post(&s, EXPERIMENTS, spec);
    cr_assert_eq(a.status, 201, "%s", a.body);
    answer_free(&a);
    a = http_post(&s, EXPERIMENTS "/1/clone", "{}");
    expect_problem(a, 429, "rate_limited", NULL, NULL);
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    mem_free(spec);
    service_end(&s);
}

static void expect_again(const struct service *s, const char *path, const char *body,
                         const char *key, int64_t id)
{
    const char *const headers[] = { key, NULL };
    struct answer a = http_call(s, "POST", path, body, headers);
    cr_assert(a.status == 201 && json_get_int(a.json, "id", 0) == id, "%ld %s", a.status, a.body);
    cr_assert(strstr(a.head, "Location: ") != NULL && strstr(a.head, "ETag: ") != NULL, "%s",
              a.head);
    answer_free(&a);
}

/* Goal: a repeated request gets its first answer although it would be refused by now: the queue is
 * full, what it names is gone, the daemon drains. */
Test(errors, a_repeated_request_is_not_judged_anew, .timeout = 60)
{
    static const char clone[] = EXPERIMENTS "/1/clone", first[] = "Idempotency-Key: first",
                      second[] = "Idempotency-Key: second";
    struct service s = { .extra = { "--max-queued-per-user", "2" } };
    service_start(&s);
    char *spec = small_spec(1, NULL), *after = mem_printf("%.*s, \"after\": [{\"experiment\": 1}]}",
                                                          (int)strlen(spec) - 1, spec);
    (void)submit(&s, spec);
    cr_assert(wait_state(&s, 1, "succeeded", 30));
    struct answer a = http_post(&s, "/api/v1/queue/pause", "{}");
    answer_free(&a);
    expect_again(&s, EXPERIMENTS, after, first, 2);
    expect_again(&s, clone, "{}", second, 3);
    expect_problem(http_post(&s, EXPERIMENTS, spec), 429, "queue_full", NULL, "at most 2");
    expect_again(&s, EXPERIMENTS, after, first, 2);
    expect_again(&s, clone, "{}", second, 3);
    a = http_call(&s, "DELETE", EXPERIMENTS "/1", NULL, NULL);
    cr_assert_eq(a.status, 204);
    answer_free(&a);
    expect_again(&s, EXPERIMENTS, after, first, 2);
    expect_again(&s, clone, "{}", second, 3);
    a = http_post(&s, "/api/v1/admin/drain", "{}");
    answer_free(&a);
    expect_again(&s, EXPERIMENTS, after, first, 2);
    const char *const other[] = { second, NULL };
    expect_problem(http_call(&s, "POST", EXPERIMENTS "/2/clone", "{}", other), 422,
                   "idempotency_mismatch", NULL, "second");
    char key[300] = "Idempotency-Key: ";
    memset(key + strlen(key), 'k', 256);
    const char *const long_key[] = { key, NULL };
    expect_problem(http_call(&s, "POST", EXPERIMENTS, spec, long_key), 400, "invalid", NULL,
                   "256 bytes");
    mem_free(spec);
    mem_free(after);
    service_end(&s);
}
