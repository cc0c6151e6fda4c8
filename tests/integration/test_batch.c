/* Stories of one request for many experiments, and of another place in the queue. */
#include "common/mem.h"
#include "tests/support/people.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define EXPERIMENTS "/api/v1/experiments"
#define BATCH EXPERIMENTS "/batch"

static struct answer batch(const struct service *s, const char *body, const char *key)
{
    char header[80];
    (void)snprintf(header, sizeof header, "Idempotency-Key: %s", key != NULL ? key : "");
    const char *const headers[] = { header, NULL };
    return http_call(s, "POST", BATCH, body, key != NULL ? headers : NULL);
}

static void expect_batch(const struct service *s, const char *body, int64_t done, int64_t refused)
{
    struct answer a = batch(s, body, NULL);
    cr_assert(a.status == 200 && json_get_int(a.json, "done", -1) == done &&
                  json_get_int(a.json, "refused", -1) == refused &&
                  cJSON_GetArraySize(json_get(a.json, "items")) == done + refused,
              "%s gave %ld %s", body, a.status, a.body);
    answer_free(&a);
}

static void expect_fault(const struct service *s, const char *path, const char *body, long status,
                         const char *words)
{
    struct answer a = http_post(s, path, body);
    cr_assert(a.status == status && strstr(a.body, words) != NULL, "%s gave %ld %s", body, a.status,
              a.body);
    answer_free(&a);
}

static void pause_queue(const struct service *s)
{
    struct answer a = http_post(s, "/api/v1/queue/pause", "{}");
    cr_assert_eq(a.status, 200);
    answer_free(&a);
}

static void submit_many(const struct service *s, int n, const char *fields)
{
    char *spec = small_spec(1, fields);
    for (int i = 0; i < n; i++) (void)submit(s, spec);
    mem_free(spec);
}

/* Goal: every experiment is judged alone and told alone; a batch that is sent again with its key is
 * not done again; bounds and faults are said. */
Test(batch, each_is_answered_for_itself, .timeout = 60)
{
    struct service s = { 0 };
    service_start(&s);
    pause_queue(&s);
    submit_many(&s, 3, NULL);
    submit_many(&s, 120, "\"tags\": [\"many\"]");
    struct answer a = batch(&s, "{\"op\": \"cancel\", \"ids\": [2, 777, 1]}", "k");
    cr_assert(a.status == 200 && json_get_int(a.json, "done", 0) == 2, "%s", a.body);
    const cJSON *second = cJSON_GetArrayItem(json_get(a.json, "items"), 1);
    cr_assert(json_get_int(second, "id", 0) == 777 && json_get_int(second, "status", 0) == 404 &&
                  strcmp(json_get_string(json_get(second, "error"), "code", ""), "not_found") == 0,
              "%s", a.body);
    struct answer again = batch(&s, "{\"op\": \"cancel\", \"ids\": [2, 777, 1]}", "k");
    cr_assert_str_eq(again.body, a.body);
    answer_free(&again);
    again = batch(&s, "{\"op\": \"cancel\", \"ids\": [3]}", "k");
    cr_assert(again.status == 422, "%ld", again.status);
    answer_free(&again);
    answer_free(&a);
    expect_batch(&s, "{\"op\": \"cancel\", \"ids\": [1, 2, 3]}", 1, 2);
    expect_batch(&s, "{\"op\": \"pause\", \"filter\": {\"tag\": \"many\"}}", 120, 0);
    expect_batch(&s, "{\"op\": \"resume\", \"filter\": {\"state\": \"paused\"}}", 120, 0);
    expect_batch(&s, "{\"op\": \"retry\", \"filter\": {\"state\": \"cancelled\"}}", 3, 0);
    expect_batch(&s, "{\"op\": \"delete\", \"ids\": [4]}", 0, 1);
    expect_batch(&s, "{\"op\": \"cancel\", \"filter\": {\"state\": \"queued\"}, \"grace_s\": 1}",
                 123, 0);
    expect_batch(&s, "{\"op\": \"delete\", \"filter\": {\"tag\": \"many\"}}", 120, 0);
    expect_batch(&s, "{\"op\": \"delete\", \"filter\": {\"tag\": \"many\"}}", 0, 0);
    a = http_get(&s, EXPERIMENTS);
    cr_assert(json_get_int(a.json, "total", 0) == 3, "%s", a.body);
    answer_free(&a);
    expect_fault(&s, BATCH, "{\"op\": \"stop\", \"ids\": [1]}", 400, "/op");
    expect_fault(&s, BATCH, "{\"op\": \"pause\"}", 400, "one of ids and filter");
    expect_fault(&s, BATCH, "{\"op\": \"pause\", \"ids\": [1], \"filter\": {\"tag\": \"x\"}}", 400,
                 "one of ids and filter");
    expect_fault(&s, BATCH, "{\"op\": \"pause\", \"ids\": [1, 2, 1]}", 400, "twice");
    expect_fault(&s, BATCH, "{\"op\": \"pause\", \"ids\": [1.5]}", 400, "/ids");
    expect_fault(&s, BATCH, "{\"op\": \"retry\", \"ids\": [1], \"grace_s\": 1}", 400, "/grace_s");
    expect_fault(&s, BATCH, "{\"op\": \"pause\", \"filter\": {\"stat\": \"x\"}}", 400,
                 "did you mean state");
    expect_fault(&s, BATCH, "{\"op\": \"pause\", \"filter\": {}}", 400, "/filter");
    service_end(&s);
}

/* Goal: what one request may name is bounded. */
Test(batch, a_thousand_is_the_most, .timeout = 30)
{
    struct service s = { 0 };
    service_start(&s);
    char *body = mem_strdup("{\"op\": \"pause\", \"ids\": [1");
    for (int i = 2; i <= 1001; i++) {
        char *longer = mem_printf("%s,%d", body, i);
        mem_free(body);
        body = longer;
        if (i < 1000) continue;
        char *whole = mem_printf("%s]}", body);
        if (i == 1000) expect_batch(&s, whole, 0, 1000);
        else expect_fault(&s, BATCH, whole, 400, "list of 1 to 1000");
        mem_free(whole);
    }
    mem_free(body);
    service_end(&s);
}

/* ---- moves ----------------------------------------------------------------------------------- */
static void expect_place(const struct service *s, int64_t id, int64_t place)
{
    cr_assert_eq(experiment_int(s, id, NULL, "queue_position"), place, "experiment %lld",
                 (long long)id);
}

static void move(const struct service *s, const char *token, int64_t id, const char *body,
                 long status, const char *words)
{
    char path[64];
    (void)snprintf(path, sizeof path, EXPERIMENTS "/%lld/move", (long long)id);
    struct answer a = call_with(s, "POST", path, body, token, NULL, NULL);
    cr_assert(a.status == status && strstr(a.body, words) != NULL, "%s of %lld gave %ld %s", body,
              (long long)id, a.status, a.body);
    answer_free(&a);
}

static int64_t submit_by(const struct service *s, const char *token, const char *spec)
{
    struct answer a = call_with(s, "POST", EXPERIMENTS, spec, token, NULL, NULL);
    cr_assert_eq(a.status, 201, "%s", a.body);
    const int64_t id = json_get_int(a.json, "id", 0);
    answer_free(&a);
    return id;
}

/* Goal: a user moves own experiments among each other; an admin anybody's anywhere; it is explained
 * and outlives the daemon. */
Test(batch, places_are_given, .timeout = 60)
{
    struct service s = { 0 };
    char ada[TOKEN_MAX], bob[TOKEN_MAX], path[64];
    service_start(&s);
    pause_queue(&s);
    (void)make_token(&s, "\"user\": \"ada\", \"role\": \"user\"", ada);
    (void)make_token(&s, "\"user\": \"bob\", \"role\": \"user\"", bob);
    char *spec = small_spec(1, NULL), *urgent = small_spec(1, "\"priority\": 1");
    for (int i = 1; i <= 6; i++) (void)submit_by(&s, i == 4 ? bob : ada, spec);
    (void)submit_by(&s, ada, urgent); /* 7 1 2 3 4(bob) 5 6 */
    move(&s, ada, 5, "{\"before\": 2}", 202, "\"queue_position\":3");
    expect_place(&s, 2, 4); /* 7 1 5 2 3 4 6 */
    move(&s, ada, 6, "{\"to\": \"front\"}", 202, "\"queue_position\":2");
    move(&s, ada, 6, "{\"to\": \"back\"}", 202, "\"queue_position\":6");
    move(&s, ada, 1, "{\"before\": 7}", 409, "priority");
    move(&s, ada, 1, "{\"before\": 4}", 403, "bob");
    move(&s, ada, 4, "{\"to\": \"front\"}", 403, "bob");
    move(&s, ada, 1, "{\"before\": 1}", 400, "itself");
    move(&s, ada, 1, "{\"to\": \"top\"}", 400, "/to");
    move(&s, ada, 1, "{}", 400, "one of to and before");
    move(&s, NULL, 4, "{\"to\": \"front\"}", 202, "\"queue_position\":1");
    move(&s, NULL, 6, "{\"before\": 1}", 202, "\"queue_position\":3"); /* 4 7 6 1 5 2 3 */
    move(&s, NULL, 7, "{\"before\": 2}", 202, "\"queue_position\":5"); /* 4 6 1 5 7 2 3 */
    service_kill(&s);
    service_restart(&s);
    const int64_t order[] = { 4, 6, 1, 5, 7, 2, 3 };
    for (int i = 0; i < 7; i++) expect_place(&s, order[i], i + 1);
    (void)snprintf(path, sizeof path, EXPERIMENTS "/%d/queue", 5);
    struct answer a = http_get(&s, path);
    cr_assert(json_get_bool(a.json, "moved", false) &&
                  json_get_int(json_get(a.json, "terms"), "lift", 0) > 0,
              "%s", a.body);
    answer_free(&a);
    a = http_post(&s, EXPERIMENTS "/4/cancel", "{}");
    answer_free(&a);
    move(&s, NULL, 4, "{\"to\": \"front\"}", 409, "cancelled");
    a = http_post(&s, EXPERIMENTS "/4/retry", "{}");
    cr_assert(strstr(a.body, "\"queue_position\":7") != NULL, "it waits anew: %s", a.body);
    answer_free(&a);
    struct answer mixed = call_with(&s, "POST", BATCH, "{\"op\": \"cancel\", \"ids\": [4, 1]}", ada,
                                    NULL, NULL);
    cr_assert(json_get_int(mixed.json, "done", 0) == 1 &&
                  json_get_int(cJSON_GetArrayItem(json_get(mixed.json, "items"), 0), "status", 0) ==
                      403 &&
                  strstr(mixed.body, "experiment/4 belongs to bob") != NULL,
              "%s", mixed.body);
    answer_free(&mixed);
    mem_free(spec);
    mem_free(urgent);
    service_end(&s);
}
