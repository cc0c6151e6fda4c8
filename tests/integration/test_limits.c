/* Stories of limits and failures: what each end of a worker means, running time, stuck workers,
 * memory. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE "/api/v1/experiments/1"

/* A worker program that does one thing for each number of experiment. */
static void write_script(char path[64], const char *cases)
{
    (void)snprintf(path, 64, "/tmp/spiked-script-XXXXXX");
    const int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    cr_assert(f != NULL &&
              fprintf(f, "#!/bin/sh\ncase $SPIKED_EXPERIMENT in\n%s\nesac\n", cases) > 0);
    cr_assert(fchmod(fd, 0700) == 0 && fclose(f) == 0);
}

static void expect_end(const struct service *s, int64_t id, const char *reason, int64_t attempts,
                       const char *words)
{
    cr_assert(wait_state(s, id, "failed", 20), "experiment %lld", (long long)id);
    cJSON *x = experiment(s, id);
    cr_assert_str_eq(json_get_string(x, "reason", ""), reason, "experiment %lld: %s", (long long)id,
                     json_get_string(x, "message", ""));
    cr_assert_eq(json_get_int(x, "attempt", 0), attempts, "experiment %lld", (long long)id);
    cr_assert(strstr(json_get_string(x, "message", ""), words) != NULL, "%s",
              json_get_string(x, "message", ""));
    cJSON_Delete(x);
}

static int64_t submit_with(const struct service *s, int64_t epochs, const char *resources,
                           const char *retry)
{
    char *fields = mem_printf("\"retry\": %s", retry);
    char *spec = small_spec(epochs, fields);
    static const char plain[] = "\"resources\": {\"threads\": 1}";
    const char *at = strstr(spec, plain);
    cr_assert(at != NULL);
    char *text = mem_printf("%.*s\"resources\": {\"threads\": 1%s}%s", (int)(at - spec), spec,
                            resources, at + sizeof plain - 1);
    const int64_t id = submit(s, text);
    mem_free(text);
    mem_free(spec);
    mem_free(fields);
    return id;
}

/* Goal: each class of failure is tried again as often as it should, and says why in words. */
Test(limits, failures_are_tried_again_by_class, .timeout = 60)
{
    char script[64];
    write_script(script, "1) exit 65;;\n2) exit 1;;\n3) exit 1;;\n4) kill -SEGV $$;;\n"
                         "5) exit 74;;\n6) exit 70;;\n7) kill -KILL $$;;");
    struct service s = { .extra = { "--worker-program", script, "--retry-delay-ms", "10" } };
    service_start(&s);
    (void)submit_with(&s, 1, "", "{}");
    (void)submit_with(&s, 1, "", "{}");
    (void)submit_with(&s, 1, "", "{\"on\": [\"error\"], \"max_attempts\": 2}");
    (void)submit_with(&s, 1, "", "{\"max_attempts\": 50}");
    (void)submit_with(&s, 1, "", "{}");
    (void)submit_with(&s, 1, "", "{\"on\": [\"error\", \"oom\"]}");
    (void)submit_with(&s, 1, "", "{\"max_attempts\": 5}");
    expect_end(&s, 1, "invalid_data", 1, "code 65");
    expect_end(&s, 2, "internal", 1, "code 1 and no final message");
    expect_end(&s, 3, "attempts_used", 2, "fault 2 of 2");
    expect_end(&s, 4, "poison", 3, "signal 11");
    expect_end(&s, 5, "attempts_used", 3, "code 74");
    expect_end(&s, 6, "diverged", 1, "code 70");
    expect_end(&s, 7, "attempts_used", 5, "signal 9");
    struct answer a = http_get(&s, "/api/v1/experiments/4/attempts");
    const cJSON *third = cJSON_GetArrayItem(json_get(a.json, "items"), 2);
    cr_assert_str_eq(json_get_string(third, "reason", ""), "crashed", "%s", a.body);
    cr_assert_eq(json_get_int(third, "signal", 0), SIGSEGV, "%s", a.body);
    answer_free(&a);
    service_end(&s);
    (void)unlink(script);
}

/* Goal: running time counts over all attempts; when it is used up the worker has written a
 * checkpoint, and a higher limit goes on from there. */
Test(limits, running_time_is_limited, .timeout = 90)
{
    struct service s = { 0 };
    service_start(&s);
    (void)submit_with(&s, 2000, ", \"time_limit_s\": 2", "{}");
    cr_assert(wait_step(&s, 1, 5, 30));
    expect_end(&s, 1, "time_limit", 1, "time_limit_s");
    cJSON *x = experiment(&s, 1);
    const double ran = json_get_number(x, "ran_s", 0);
    const int64_t step = json_get_int(json_get(x, "progress"), "step", 0);
    cr_assert(ran >= 2 && ran < 10, "%g", ran);
    cJSON_Delete(x);
    struct answer a = http_post(&s, ONE "/retry", "{}");
    cr_assert(a.status == 409 && strstr(a.body, "raise it first") != NULL, "%s", a.body);
    answer_free(&a);
    a = http_call(&s, "PATCH", ONE, "{\"time_limit_s\": 4}", NULL);
    cr_assert(a.status == 200 && json_get_int(a.json, "time_limit_s", 0) == 4, "%s", a.body);
    answer_free(&a);
    a = http_post(&s, ONE "/retry", "{}");
    cr_assert(a.status == 202, "%s", a.body);
    answer_free(&a);
    cr_assert(wait_state(&s, 1, "running", 20));
    expect_end(&s, 1, "time_limit", 2, "time_limit_s");
    a = http_get(&s, ONE "/attempts");
    const cJSON *second = cJSON_GetArrayItem(json_get(a.json, "items"), 1);
    cr_assert(json_get_int(second, "resume_step", 0) >= step, "%s", a.body);
    answer_free(&a);
    service_end(&s);
}

/* Goal: a worker that says it lives but gets nowhere is killed and tried again; one that waits for
 * its evaluation is not. */
Test(limits, a_stuck_worker_is_tried_again, .timeout = 90)
{
    struct service s = { .extra = { "--retry-delay-ms", "10" } };
    service_start(&s);
    (void)submit_with(&s, 60, ", \"no_progress_s\": 2", "{}");
    cr_assert(wait_step(&s, 1, 30, 30));
    const pid_t worker = service_worker(&s);
    cr_assert(worker > 0 && kill(worker, SIGSTOP) == 0);
    cr_assert(wait_state(&s, 1, "backoff|queued|starting", 10));
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    struct answer a = http_get(&s, ONE "/attempts");
    const cJSON *first = cJSON_GetArrayItem(json_get(a.json, "items"), 0);
    cr_assert_str_eq(json_get_string(first, "reason", ""), "no_progress", "%s", a.body);
    cr_assert(cJSON_GetArraySize(json_get(a.json, "items")) == 2, "%s", a.body);
    answer_free(&a);
    service_end(&s);
}

/* Goal: a worker is held to memory_mib, and one that meets its limit says so. */
Test(limits, memory_is_limited, .timeout = 90)
{
    struct service s = { 0 };
    service_start(&s);
    (void)submit_with(&s, 20, ", \"memory_mib\": 64", "{}");
    cr_assert(wait_step(&s, 1, 5, 30));
    struct rlimit limit = { 0 };
    cr_assert(prlimit(service_worker(&s), RLIMIT_DATA, NULL, &limit) == 0);
    cr_assert_eq(limit.rlim_cur, (rlim_t)(64 + 64 + 16) << 20);
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    while (service_worker(&s) != 0) sleep_ms(10); /* its last word comes before its end */
    sleep_ms(200);
    struct answer a = http_get(&s, ONE "/attempts");
    const cJSON *first = cJSON_GetArrayItem(json_get(a.json, "items"), 0);
    cr_assert_str_eq(json_get_string(first, "memory_limit", ""), "rlimit", "%s", a.body);
    cr_assert(json_get_int(first, "exit_code", -1) == 0 && cJSON_IsNull(json_get(first, "signal")),
              "%s", a.body);
    answer_free(&a);
    service_end(&s);
}

/* Goal: too little memory for what the plan asked for is a failure of its own class. */
Test(limits, too_little_memory_is_told, .timeout = 60)
{
    char script[64], here[200], *cases;
    cr_assert(getcwd(here, sizeof here) != NULL);
    cases = mem_printf("*) ulimit -d 6000; exec %s/build/spiked-worker attempt;;", here);
    write_script(script, cases);
    struct service s = { .extra = { "--worker-program", script } };
    service_start(&s);
    (void)submit_with(&s, 1, "", "{\"max_attempts\": 9}");
    expect_end(&s, 1, "oom_killed", 1, "");
    service_end(&s);
    (void)unlink(script);
    mem_free(cases);
}
