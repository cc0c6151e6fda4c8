/* Stories of clones: the same spec once more, with changes, and from another one's weights. */
#include "common/mem.h"
#include "tests/support/results.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define EXPERIMENTS "/api/v1/experiments"

static struct answer clone_of(const struct service *s, int64_t id, const char *query,
                              const char *body)
{
    char path[80];
    (void)snprintf(path, sizeof path, EXPERIMENTS "/%lld/clone%s", (long long)id, query);
    return http_post(s, path, body);
}

static int64_t cloned(const struct service *s, int64_t id, const char *body)
{
    struct answer a = clone_of(s, id, "", body);
    cr_assert(a.status == 201, "%ld %s", a.status, a.body);
    const int64_t made = json_get_int(a.json, "id", 0);
    answer_free(&a);
    return made;
}

static void expect_refused(struct answer a, long status, const char *words)
{
    cr_assert(a.status == status && strstr(a.body, words) != NULL, "%ld %s", a.status, a.body);
    answer_free(&a);
}

/* Goal: a clone has the same bits; with a patch it is validated like a submission, every fault at
 * its place. */
Test(clone, a_clone_is_a_submission, .timeout = 90)
{
    struct service s = { .extra = { "--max-running", "2" } };
    service_start(&s);
    char *spec = small_spec(3, "\"seed\": 5");
    const int64_t first = submit(&s, spec);
    const int64_t same = cloned(&s, first, "{}");
    const int64_t other = cloned(
        &s, first, "{\"patch\": {\"seed\": 6, \"name\": \"other\", \"train\": {\"epochs\": 1}}}");
    cr_assert(wait_state(&s, first, "succeeded", 60) && wait_state(&s, same, "succeeded", 60));
    expect_same(&s, first, same);
    cJSON *x = experiment(&s, other), *y = experiment(&s, first);
    const cJSON *other_spec = json_get(x, "spec"), *first_spec = json_get(y, "spec");
    cr_assert(json_get_int(other_spec, "seed", 0) == 6 &&
              json_get_int(json_get(other_spec, "train"), "epochs", 0) == 1);
    cr_assert(json_get_int(json_get(other_spec, "train"), "batch_size", 0) ==
              json_get_int(json_get(first_spec, "train"), "batch_size", -1));
    cr_assert_str_eq(json_get_string(x, "name", ""), "other");
    cJSON_Delete(x);
    cJSON_Delete(y);
    expect_refused(
        clone_of(&s, first, "", "{\"patch\": {\"train\": {\"epochs\": 0, \"optimzer\": 1}}}"), 400,
        "/train/optimzer");
    expect_refused(clone_of(&s, first, "", "{\"patch\": 3}"), 400, "/patch");
    expect_refused(clone_of(&s, first, "", "{\"pach\": {}}"), 400, "did you mean patch");
    expect_refused(clone_of(&s, first, "", "{\"from\": \"worst\"}"), 400, "/from");
    expect_refused(clone_of(&s, first, "", "{\"after\": [{\"experiment\": 77}]}"), 400,
                   "/after/0/experiment");
    expect_refused(clone_of(&s, 77, "", "{}"), 404, "77");
    struct answer a = clone_of(&s, first, "?dry_run=true", "{\"patch\": {\"seed\": 8}}");
    cr_assert(a.status == 200 && json_get_int(json_get(a.json, "spec"), "seed", 0) == 8, "%s",
              a.body);
    answer_free(&a);
    a = http_get(&s, EXPERIMENTS);
    cr_assert(json_get_int(a.json, "total", 0) == 3, "a refused clone was stored: %s", a.body);
    answer_free(&a);
    cr_assert(wait_state(&s, other, "succeeded", 60));
    mem_free(spec);
    service_end(&s);
}

/* The value of the first point of the training loss. */
static double first_loss(const struct service *s, int64_t id)
{
    char path[100];
    (void)snprintf(path, sizeof path, EXPERIMENTS "/%lld/metrics/train/loss", (long long)id);
    struct answer a = http_get(s, path);
    const cJSON *point = json_get(a.json, "points") != NULL ? json_get(a.json, "points")->child
                                                            : NULL;
    cr_assert(point != NULL && cJSON_GetArraySize(point) == 3, "%s", a.body);
    const double loss = cJSON_GetArrayItem(point, 2)->valuedouble;
    answer_free(&a);
    return loss;
}

/* Goal: a fork begins with the other one's weights, whatever becomes of that one, and an attempt
 * that was killed ends with the bits of an undisturbed fork. */
Test(clone, a_fork_begins_with_weights, .timeout = 120)
{
    struct service s = { .extra = { "--max-running", "2", "--retry-delay-ms", "10" } };
    service_start(&s);
    char *spec = small_spec(20, NULL);
    const int64_t source = submit(&s, spec);
    cr_assert(wait_state(&s, source, "succeeded", 60));
    const int64_t best = cloned(&s, source,
                                "{\"from\": \"best\", \"patch\": {\"train\": {\"epochs\": 10}}}");
    const int64_t last = cloned(&s, source,
                                "{\"from\": \"last\", \"patch\": {\"train\": {\"epochs\": 10}}}");
    cr_assert(wait_state(&s, best, "succeeded", 60) && wait_state(&s, last, "succeeded", 60));
    cr_assert(first_loss(&s, last) < 0.7 * first_loss(&s, source), "%g after %g",
              first_loss(&s, last), first_loss(&s, source));
    cr_assert(first_loss(&s, best) < 0.7 * first_loss(&s, source));
    const int64_t again = cloned(&s, last, "{}");
    char path[64];
    (void)snprintf(path, sizeof path, EXPERIMENTS "/%lld?purge=true", (long long)source);
    struct answer a = http_call(&s, "DELETE", path, NULL, NULL);
    cr_assert(a.status == 204, "%s", a.body);
    answer_free(&a);
    cr_assert(wait_step(&s, again, 50, 30));
    const pid_t worker = service_worker(&s);
    cr_assert(worker > 0 && kill(worker, SIGKILL) == 0);
    cr_assert(wait_state(&s, again, "succeeded", 60));
    cr_assert(experiment_int(&s, again, NULL, "attempt") == 2);
    expect_same(&s, last, again);
    expect_refused(clone_of(&s, last, "", "{}"), 400, "/train/from/experiment");
    mem_free(spec);
    service_end(&s);
}

/* Goal: what has no weights to give, or of another shape, is refused in words. */
Test(clone, a_fork_needs_fitting_weights, .timeout = 60)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(2, NULL);
    struct answer a = http_post(&s, "/api/v1/queue/pause", "{}");
    answer_free(&a);
    const int64_t source = submit(&s, spec);
    expect_refused(clone_of(&s, source, "", "{\"from\": \"last\"}"), 409, "no checkpoint yet");
    a = http_post(&s, "/api/v1/queue/resume", "{}");
    answer_free(&a);
    cr_assert(wait_state(&s, source, "succeeded", 30));
    cJSON *x = experiment(&s, source);
    cJSON *layers = cJSON_Duplicate(json_get(json_get(json_get(x, "spec"), "network"), "layers"),
                                    true);
    (void)cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetArrayItem(layers, 6), "out_features",
                                                 cJSON_CreateNumber(33));
    char *text = json_print(layers, NULL);
    char *body = mem_printf("{\"from\": \"last\", \"patch\": {\"network\": {\"layers\": %s}}}",
                            text);
    const int64_t wide = cloned(&s, source, body);
    cr_assert(wait_state(&s, wide, "failed", 30));
    cJSON *y = experiment(&s, wide);
    cr_assert_str_eq(json_get_string(y, "reason", ""), "invalid_data");
    cr_assert(strstr(json_get_string(y, "message", ""), "6.weight (wrong shape)") != NULL, "%s",
              json_get_string(y, "message", ""));
    cJSON_Delete(x);
    cJSON_Delete(y);
    cJSON_Delete(layers);
    mem_free(text);
    mem_free(body);
    mem_free(spec);
    service_end(&s);
}

/* Goal: labels and limits change under If-Match; notes are kept and read with the experiment. */
Test(clone, labels_change_under_if_match, .timeout = 30)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    const int64_t id = submit(&s, spec);
    cr_assert(wait_state(&s, id, "succeeded", 30));
    char match[40];
    (void)snprintf(match, sizeof match, "If-Match: \"r%lld\"",
                   (long long)experiment_int(&s, id, NULL, "rev"));
    const char *const headers[] = { match, NULL };
    const char *body = "{\"notes\": \"the good one\\nsee 12\", \"name\": \"n\", \"tags\": [\"a\"],"
                       " \"priority\": 4, \"time_limit_s\": 60}";
    struct answer a = http_call(&s, "PATCH", EXPERIMENTS "/1", body, headers);
    cr_assert(a.status == 200 && json_get_int(a.json, "time_limit_s", 0) == 60, "%s", a.body);
    answer_free(&a);
    expect_refused(http_call(&s, "PATCH", EXPERIMENTS "/1", body, headers), 412, "revision");
    expect_refused(http_call(&s, "PATCH", EXPERIMENTS "/1", "{\"notes\": 3}", NULL), 400, "/notes");
    service_stop(&s);
    service_restart(&s);
    cJSON *x = experiment(&s, id);
    cr_assert_str_eq(json_get_string(x, "notes", ""), "the good one\nsee 12");
    cr_assert(json_get_int(x, "priority", 0) == 4 && json_get_int(x, "time_limit_s", 0) == 60);
    cJSON_Delete(x);
    mem_free(spec);
    service_end(&s);
}
