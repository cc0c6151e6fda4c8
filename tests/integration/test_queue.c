/* Stories of the queue: order, why one waits, limits of users, pause and drain. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SOMEBODY 23456 /* a user id that is no admin's */

static void post(const struct service *s, const char *path, long status)
{
    struct answer a = http_post(s, path, "{}");
    cr_assert(a.status == status, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}

static void cancel(const struct service *s, int64_t id)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/cancel", (long long)id);
    struct answer a = http_post(s, path, "{\"grace_s\": 5}");
    answer_free(&a);
    cr_assert(wait_state(s, id, "cancelled|succeeded|failed", 15));
}

static struct answer why(const struct service *s, int64_t id)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/queue", (long long)id);
    struct answer a = http_get(s, path);
    cr_assert(a.status == 200, "%ld %s", a.status, a.body);
    return a;
}

static void expect_blocked(const struct service *s, int64_t id, int64_t position, const char *by,
                           const char *words)
{
    struct answer a = why(s, id);
    cr_assert_str_eq(json_get_string(a.json, "blocked_by", ""), by, "%s", a.body);
    cr_assert_eq(json_get_int(a.json, "position", -1), position, "%s", a.body);
    cr_assert(strstr(json_get_string(a.json, "detail", ""), words) != NULL, "%s", a.body);
    answer_free(&a);
}

/* Goal: the answer says the place, who is ahead, what the place is made of, and why it waits. */
Test(queue, waiting_is_explained, .timeout = 60)
{
    struct service s = { .extra = { "--max-running", "1" } };
    service_start(&s);
    char *plain = small_spec(500, NULL), *urgent = small_spec(500, "\"priority\": 3");
    (void)submit(&s, plain);
    cr_assert(wait_step(&s, 1, 3, 30));
    (void)submit(&s, plain);
    (void)submit(&s, plain);
    (void)submit(&s, urgent);
    struct answer a = why(&s, 3);
    const cJSON *ahead = json_get(a.json, "ahead"), *terms = json_get(a.json, "terms");
    cr_assert(cJSON_GetArraySize(ahead) == 2 && ahead->child->valuedouble == 4 &&
                  ahead->child->next->valuedouble == 2,
              "%s", a.body);
    cr_assert(json_get_int(terms, "priority", -1) == 0 && json_get_int(terms, "age", -1) == 0 &&
                  json_get_int(terms, "share", 1) <= 0,
              "%s", a.body);
    cr_assert_eq(json_get_int(terms, "total", 1), json_get_int(terms, "share", 1));
    answer_free(&a);
    expect_blocked(&s, 3, 3, "no_slot", "1 of 1 slots");
    expect_blocked(&s, 4, 1, "no_slot", "1 of 1 slots");
    a = why(&s, 4);
    cr_assert(json_get_number(a.json, "eta_s", -1) > 0, "when the first slot is free: %s", a.body);
    answer_free(&a);
    expect_blocked(&s, 1, -1, "none", "trains");
    cr_assert_eq(experiment_int(&s, 4, NULL, "queue_position"), 1);
    a = http_call(&s, "PATCH", "/api/v1/experiments/2", "{\"priority\": 9}", NULL);
    answer_free(&a);
    cr_assert_eq(experiment_int(&s, 2, NULL, "queue_position"), 1);
    cr_assert_eq(experiment_int(&s, 4, NULL, "queue_position"), 2);
    cancel(&s, 1);
    cr_assert(wait_state(&s, 2, "starting|running", 15));
    for (int64_t id = 2; id <= 4; id++) cancel(&s, id);
    mem_free(plain);
    mem_free(urgent);
    service_end(&s);
}

/* Goal: a user at the limit waits with a free slot, and is told so. */
Test(queue, a_users_limit_is_kept, .timeout = 60)
{
    struct service s = { .extra = { "--max-running", "3", "--max-running-per-user", "1" } };
    service_start(&s);
    char *spec = small_spec(500, NULL);
    (void)submit(&s, spec);
    (void)submit(&s, spec);
    cr_assert(wait_step(&s, 1, 1, 30));
    expect_blocked(&s, 2, 1, "user_limit", "1 of 1 allowed");
    struct answer a = http_get(&s, "/api/v1/queue");
    const cJSON *user = json_get(a.json, "users")->child;
    cr_assert(json_get_int(user, "running", 0) == 1 && json_get_int(user, "waiting", 0) == 1, "%s",
              a.body);
    answer_free(&a);
    cancel(&s, 1);
    cr_assert(wait_state(&s, 2, "starting|running", 15));
    cancel(&s, 2);
    mem_free(spec);
    service_end(&s);
}

/* Goal: a paused queue takes experiments and starts none, also after a crash of the daemon. */
Test(queue, pause_survives_a_crash, .timeout = 60)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    post(&s, "/api/v1/queue/pause", 200);
    const int64_t id = submit(&s, spec);
    expect_blocked(&s, id, 1, "queue_paused", "paused");
    service_kill(&s);
    service_restart(&s);
    sleep_ms(600);
    expect_blocked(&s, id, 1, "queue_paused", "paused");
    cr_assert_eq(experiment_int(&s, id, NULL, "attempt"), 0);
    struct answer a = http_get(&s, "/readyz");
    cr_assert(a.status == 200 && strstr(a.body, "paused") != NULL, "%s", a.body);
    answer_free(&a);
    a = http_get(&s, "/api/v1/queue");
    cr_assert(json_get_bool(a.json, "paused", false) && json_get_int(a.json, "queued", 0) == 1);
    answer_free(&a);
    post(&s, "/api/v1/queue/resume", 200);
    cr_assert(wait_state(&s, id, "succeeded", 30));
    mem_free(spec);
    service_end(&s);
}

/* Goal: draining ends what runs in peace, lets nothing in, and is left by an admin only. */
Test(queue, drain_lets_nothing_in, .timeout = 60)
{
    struct service s = { .extra = { "--max-running", "1" } };
    service_start(&s);
    char *spec = small_spec(10, NULL);
    (void)submit(&s, spec);
    (void)submit(&s, spec);
    cr_assert(wait_step(&s, 1, 1, 30));
    const long other = http_status_as(&s, SOMEBODY, "POST", "/api/v1/admin/drain", "{}");
    cr_assert(other == 403 || other == 0, "%ld", other);
    post(&s, "/api/v1/admin/drain", 200);
    struct answer a = http_post(&s, "/api/v1/experiments", spec);
    cr_assert(a.status == 503 && strstr(a.body, "drains") != NULL, "%ld %s", a.status, a.body);
    answer_free(&a);
    a = http_get(&s, "/readyz");
    cr_assert(a.status == 503 && strstr(a.body, "drains") != NULL, "%ld %s", a.status, a.body);
    answer_free(&a);
    cr_assert(wait_state(&s, 1, "succeeded", 30));
    sleep_ms(600);
    expect_blocked(&s, 2, 1, "draining", "drains");
    const long again = http_status_as(&s, SOMEBODY, "POST", "/api/v1/admin/undrain", "{}");
    cr_assert(again == 403 || again == 0, "%ld", again);
    post(&s, "/api/v1/admin/undrain", 200);
    cr_assert(wait_state(&s, 2, "succeeded", 30));
    mem_free(spec);
    service_end(&s);
}

static int64_t submit_after(const struct service *s, const char *spec, const char *after)
{
    char *text = mem_printf("%.*s, \"after\": %s}", (int)strlen(spec) - 1, spec, after);
    const int64_t id = submit(s, text);
    mem_free(text);
    return id;
}

static void expect_refused(const struct service *s, const char *spec, const char *after,
                           long status, const char *words)
{
    char *text = mem_printf("%.*s, \"after\": %s}", (int)strlen(spec) - 1, spec, after);
    struct answer a = http_post(s, "/api/v1/experiments", text);
    cr_assert(a.status == status && strstr(a.body, words) != NULL, "%ld %s", a.status, a.body);
    answer_free(&a);
    mem_free(text);
}

/* Goal: what waits for others begins when they have ended as it asks, is ended when they have not,
 * and says so; a chain falls as a whole. */
Test(queue, one_after_the_other, .timeout = 90)
{
    struct service s = { .extra = { "--max-running", "4" } };
    service_start(&s);
    char *spec = small_spec(2, NULL), *long_spec = small_spec(500, NULL);
    (void)submit(&s, long_spec);
    (void)submit_after(&s, spec, "[{\"experiment\": 1}]");
    (void)submit_after(&s, spec, "[{\"experiment\": 1, \"on\": \"any\"}]");
    (void)submit_after(&s, spec, "[{\"experiment\": 2, \"on\": \"ok\"}]");
    cr_assert(wait_step(&s, 1, 1, 30));
    for (int64_t id = 2; id <= 4; id++) {
        cr_assert(wait_state(&s, id, "blocked", 1));
        cr_assert_eq(experiment_int(&s, id, NULL, "attempt"), 0);
    }
    expect_blocked(&s, 2, -1, "dependency", "waits for experiment 1 (running) to succeed");
    expect_blocked(&s, 3, -1, "dependency", "to end");
    service_kill(&s); /* what waits still does */
    service_restart(&s);
    cr_assert(wait_state(&s, 3, "blocked", 1));
    cancel(&s, 1);
    cr_assert(wait_state(&s, 3, "succeeded", 30));
    cr_assert(wait_state(&s, 2, "cancelled", 5) && wait_state(&s, 4, "cancelled", 5));
    cJSON *x = experiment(&s, 4);
    cr_assert_str_eq(json_get_string(x, "reason", ""), "dependency");
    cr_assert(strstr(json_get_string(x, "message", ""), "experiment 2 (cancelled) to succeed") !=
                  NULL,
              "%s", json_get_string(x, "message", ""));
    cJSON_Delete(x);
    struct answer a = http_post(&s, "/api/v1/experiments/4/retry", "{}");
    cr_assert(a.status == 409 && strstr(a.body, "retry that first") != NULL, "%s", a.body);
    answer_free(&a);
    expect_refused(&s, spec, "[{\"experiment\": 1}]", 409, "needs experiment 1 (cancelled)");
    expect_refused(&s, spec, "[{\"experiment\": 99}]", 400, "/after/0/experiment");
    expect_refused(&s, spec, "[{\"experiment\": 1, \"on\": \"okay\"}]", 400, "/after/0/on");
    expect_refused(&s, spec, "[{\"experiment\": 1, \"at\": 1}]", 400, "/after/0/at");
    expect_refused(&s, spec, "[{\"experiment\": 1}, {\"experiment\": 1}]", 400, "twice");
    const int64_t met = submit_after(&s, spec, "[{\"experiment\": 3}]");
    cr_assert(wait_state(&s, met, "succeeded", 30));
    mem_free(spec);
    mem_free(long_spec);
    service_end(&s);
}

/* Goal: a retry of what depends on others waits for their retry. */
Test(queue, a_retry_waits_again, .timeout = 90)
{
    struct service s = { .extra = { "--max-running", "1" } };
    service_start(&s);
    char *spec = small_spec(4, NULL);
    post(&s, "/api/v1/queue/pause", 200);
    (void)submit(&s, spec);
    (void)submit_after(&s, spec, "[{\"experiment\": 1}]");
    cancel(&s, 1);
    cr_assert(wait_state(&s, 2, "cancelled", 5));
    post(&s, "/api/v1/experiments/1/retry", 202);
    post(&s, "/api/v1/experiments/2/retry", 202);
    cr_assert(wait_state(&s, 2, "blocked", 2));
    post(&s, "/api/v1/queue/resume", 200);
    cr_assert(wait_state(&s, 2, "succeeded", 60));
    cr_assert(wait_state(&s, 1, "succeeded", 1));
    mem_free(spec);
    service_end(&s);
}

/* Asks again with the ETag of the first answer. */
static long asked_again(const struct service *s, const char *path, const struct answer *first)
{
    char have[80];
    const char *tag = strstr(first->head, "ETag: ");
    cr_assert(tag != NULL, "%s", first->head);
    (void)snprintf(have, sizeof have, "If-None-Match: %.*s", (int)strcspn(tag + 6, "\r"), tag + 6);
    const char *const headers[] = { have, NULL };
    struct answer a = http_call(s, "GET", path, NULL, headers);
    const long status = a.status;
    answer_free(&a);
    return status;
}

/* Goal: an ETag covers what the answer shows: a place in the queue that moved is told, although the
 * experiment itself did not change; for If-Match the revision alone counts. */
Test(queue, an_etag_covers_the_place, .timeout = 60)
{
    static const char two[] = "/api/v1/experiments/2";
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    post(&s, "/api/v1/queue/pause", 200);
    (void)submit(&s, spec);
    (void)submit(&s, spec);
    struct answer before = http_get(&s, two);
    cr_assert_eq(json_get_int(before.json, "queue_position", 0), 2);
    cr_assert_eq(asked_again(&s, two, &before), 304);
    cancel(&s, 1);
    cr_assert_eq(asked_again(&s, two, &before), 200);
    struct answer after = http_get(&s, two);
    cr_assert_eq(json_get_int(after.json, "queue_position", 0), 1);
    cr_assert_eq(json_get_int(after.json, "rev", 0), json_get_int(before.json, "rev", 1));
    char have[80];
    const char *tag = strstr(before.head, "ETag: ");
    (void)snprintf(have, sizeof have, "If-Match: %.*s", (int)strcspn(tag + 6, "\r"), tag + 6);
    const char *const headers[] = { have, NULL };
    struct answer a = http_call(&s, "PATCH", two, "{\"name\": \"better\"}", headers);
    cr_assert(a.status == 200, "%ld %s", a.status, a.body);
    answer_free(&a);
    a = http_call(&s, "PATCH", two, "{\"name\": \"late\"}", headers);
    cr_assert(a.status == 412, "%ld %s", a.status, a.body);
    answer_free(&a);
    cr_assert_eq(asked_again(&s, two, &after), 200);
    answer_free(&before);
    answer_free(&after);
    mem_free(spec);
    service_end(&s);
}
