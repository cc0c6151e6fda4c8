/* Stories of sweeps: members are ordinary experiments, as many at once as allowed; who is not good
 * enough ends early; and no death of the daemon loses or doubles a member or a decision. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/chaos/chaos_rounds.h"
#include "tests/support/people.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SWEEPS V1 "/sweeps"
#define EXPERIMENTS V1 "/experiments"
/* Learning rates of which one is good and the others are none. */
#define ASHA                                                                               \
    "{\"type\": \"asha\", \"n\": 6, \"seed\": 1, \"metric\": \"train/loss\", \"eta\": 2, " \
    "\"min\": 1,"                                                                          \
    " \"max\": 16}"
#define STEPS 36 /* of an epoch */
#define RATES "{\"/train/optimizer/lr\": {\"min\": 1e-7, \"max\": 0.01, \"log\": true}}"

static char *sweep_body(const char *space, const char *strategy, const char *more)
{
    char *base = small_spec(2, "\"retry\": {\"max_attempts\": 100}");
    char *body = mem_printf("{\"name\": \"s\", \"base\": %s, \"space\": %s, \"strategy\": %s%s}",
                            base, space, strategy, more);
    mem_free(base);
    return body;
}

static struct answer post_sweep(const struct service *s, const char *query, const char *space,
                                const char *strategy, const char *more)
{
    char path[80], *body = sweep_body(space, strategy, more);
    (void)snprintf(path, sizeof path, SWEEPS "%s", query);
    struct answer a = http_post(s, path, body);
    mem_free(body);
    return a;
}

static int64_t make_sweep(const struct service *s, const char *space, const char *strategy,
                          const char *more)
{
    struct answer a = post_sweep(s, "", space, strategy, more);
    cr_assert(a.status == 201, "%ld %s", a.status, a.body);
    const int64_t id = json_get_int(a.json, "id", 0);
    answer_free(&a);
    return id;
}

static cJSON *read_sweep(const struct service *s, int64_t id)
{
    char path[64];
    (void)snprintf(path, sizeof path, SWEEPS "/%lld", (long long)id);
    struct answer a = http_get(s, path);
    cr_assert(a.status == 200, "%ld %s", a.status, a.body);
    cJSON *json = cJSON_Duplicate(a.json, true);
    answer_free(&a);
    return json;
}

static bool wait_sweep(const struct service *s, int64_t id, const char *state, int seconds)
{
    for (const int64_t until = clock_mono_ms() + 1000 * seconds; clock_mono_ms() < until;) {
        cJSON *x = read_sweep(s, id);
        const bool there = strcmp(json_get_string(x, "state", ""), state) == 0;
        cJSON_Delete(x);
        if (there) return true;
        sleep_ms(50);
    }
    return false;
}

static void expect_act(const struct service *s, int64_t id, const char *action, int64_t done)
{
    char path[64];
    (void)snprintf(path, sizeof path, SWEEPS "/%lld/%s", (long long)id, action);
    struct answer a = http_post(s, path, "{}");
    cr_assert(a.status == 202 && json_get_int(a.json, "done", -1) == done, "%s: %ld %s", action,
              a.status, a.body);
    answer_free(&a);
}

static void expect_status(const struct service *s, const char *method, const char *path,
                          const char *body, long status, const char *words)
{
    struct answer a = http_call(s, method, path, body, NULL);
    cr_assert(a.status == status && (words[0] == '\0' || strstr(a.body, words) != NULL),
              "%s %s: %ld %s", method, path, a.status, a.body);
    answer_free(&a);
}

/* Goal: a sweep is validated, shown, bounded, repeated by its key, and its members are experiments
 * like others; what is asked of it is asked of them. */
Test(sweeps, members_are_experiments, .timeout = 90)
{
    struct service s = { .extra = { "--max-running", "4" } };
    const char *grid = "{\"/seed\": {\"values\": [1, 2, 3, 4, 5, 6]}}";
    service_start(&s);
    expect_status(&s, "POST", V1 "/queue/pause", "{}", 200, "");
    struct answer a = post_sweep(&s, "?dry_run=true", grid, "{\"type\": \"grid\"}", "");
    cr_assert(a.status == 200 && json_get_int(a.json, "n", 0) == 6 &&
                  strstr(a.body, "{\"name\":\"s-6\",\"parameters\":{\"/seed\":6}}") != NULL,
              "%ld %s", a.status, a.body);
    answer_free(&a);
    a = post_sweep(&s, "", "{\"/train/epochs\": {\"values\": [1, 0]}}", "{\"type\": \"grid\"}", "");
    cr_assert(a.status == 400 && strstr(a.body, "/space/~1train~1epochs") != NULL, "%s", a.body);
    answer_free(&a);
    expect_status(&s, "GET", EXPERIMENTS, NULL, 200, "\"total\":0");
    char *body = sweep_body(grid, "{\"type\": \"grid\"}", ", \"max_parallel\": 2");
    const char *const key[] = { "Idempotency-Key: k", NULL };
    for (int i = 0; i < 2; i++) {
        a = http_call(&s, "POST", SWEEPS, body, key);
        cr_assert(a.status == 201 && json_get_int(a.json, "id", 0) == 1, "%s", a.body);
        answer_free(&a);
    }
    mem_free(body);
    expect_status(&s, "GET", EXPERIMENTS "?sweep=1", NULL, 200, "\"total\":6");
    expect_act(&s, 1, "pause", 6);
    expect_status(&s, "GET", SWEEPS "/1", NULL, 200, "\"state\":\"paused\"");
    expect_act(&s, 1, "resume", 6);
    expect_status(&s, "DELETE", SWEEPS "/1", NULL, 409, "have not ended");
    expect_status(&s, "PATCH", SWEEPS "/1", "{\"name\": \"t\", \"max_parallel\": 1}", 200,
                  "\"max_parallel\":1");
    expect_status(&s, "PATCH", SWEEPS "/1", "{\"max_parallel\": 1.5}", 400, "/max_parallel");
    expect_status(&s, "POST", V1 "/queue/resume", "{}", 200, "");
    cr_assert(wait_state(&s, 1, "running", 30));
    expect_status(&s, "GET", EXPERIMENTS "/2/queue", NULL, 200, "\"blocked_by\":\"sweep_limit\"");
    service_kill(&s);
    service_restart(&s);
    expect_status(&s, "GET", EXPERIMENTS "/6", NULL, 200, "\"parameters\":{\"/seed\":6}");
    expect_status(&s, "GET", EXPERIMENTS "/6/queue", NULL, 200, "\"blocked_by\":\"sweep_limit\"");
    expect_act(&s, 1, "cancel", 6);
    cr_assert(wait_sweep(&s, 1, "cancelled", 40));
    cJSON *x = read_sweep(&s, 1);
    cr_assert(cJSON_GetArraySize(json_get(x, "items")) == 6);
    cJSON_Delete(x);
    expect_status(&s, "GET", SWEEPS "/1?limit=2&cursor=2", NULL, 200, "\"next_cursor\":\"4\"");
    expect_status(&s, "GET", SWEEPS "?limit=1", NULL, 200, "\"next_cursor\":null");
    expect_status(&s, "DELETE", SWEEPS "/1", NULL, 204, "");
    expect_status(&s, "GET", SWEEPS "/1", NULL, 404, "sweep 1");
    expect_status(&s, "GET", EXPERIMENTS "/6", NULL, 200, "\"sweep\":null");
    service_end(&s);
}

/* Goal: so many failures end the whole sweep, a member that waits never runs, and only the failed
 * ones are repeated. */
Test(sweeps, failures_stop_it, .timeout = 60)
{
    struct service s = { .extra = { "--max-running", "1" } };
    service_start(&s);
    char *base = small_spec(1, NULL);
    char *body = mem_printf(
        "{\"name\": \"f\", \"base\": %s, \"space\": {\"/resources/memory_mib\": "
        "{\"values\": [1, 1, 1000, 1000]}}, \"strategy\": {\"type\": \"grid\"},"
        " \"max_fails\": 2}",
        base);
    struct answer a = http_post(&s, SWEEPS, body);
    cr_assert(a.status == 201, "%s", a.body);
    answer_free(&a);
    cr_assert(wait_sweep(&s, 1, "failed", 40));
    expect_status(&s, "GET", EXPERIMENTS "/4", NULL, 200, "\"reason\":\"sweep_stopped\"");
    expect_status(&s, "GET", EXPERIMENTS "/4", NULL, 200, "\"attempt\":0");
    expect_act(&s, 1, "retry-failed", 2);
    mem_free(body);
    mem_free(base);
    cr_assert(wait_sweep(&s, 1, "failed", 40));
    service_end(&s);
}

/* ---- successive halving ---------------------------------------------------------------------- */
/* Every decision follows from those before it at its rung, and is followed. */
static void expect_halving(const struct service *s, int64_t id)
{
    cJSON *x = read_sweep(s, id);
    const cJSON *m, *r;
    int decisions = 0, stopped = 0, succeeded = 0, first_rung = 0;
    cJSON_ArrayForEach(m, json_get(x, "items")) {
        const char *last = "goes_on";
        int64_t rung = 0;
        cJSON_ArrayForEach(r, json_get(m, "rungs")) {
            const int64_t rank = json_get_int(r, "rank", 0), of = json_get_int(r, "of", 0);
            const bool on = rank <= (of / 2 > 1 ? of / 2 : 1);
            cr_assert_eq(json_get_int(r, "rung", -1), rung++);
            cr_assert_eq(json_get_int(r, "step", 0), STEPS * json_get_int(r, "budget", 0),
                         "a later value was judged: %d at budget %d",
                         (int)json_get_int(r, "step", 0), (int)json_get_int(r, "budget", 0));
            last = json_get_string(r, "verdict", "");
            cr_assert_str_eq(last, on ? "goes_on" : "stops");
            decisions++;
        }
        first_rung += rung > 0;
        const bool early = json_get_bool(m, "stopped_early", false);
        const char *state = json_get_string(m, "state", "");
        /* One may have finished before it heard. */
        cr_assert(early ? strcmp(last, "stops") == 0 : strcmp(state, "succeeded") == 0, "%s",
                  state);
        stopped += early;
        succeeded += strcmp(state, "succeeded") == 0;
    }
    cr_assert(first_rung == 6 && decisions >= 7 && stopped >= 2 && succeeded >= 1,
              "%d at the first rung, %d decisions, %d stopped, %d succeeded", first_rung, decisions,
              stopped, succeeded);
    cr_assert_eq(json_get_int(x, "pruned", 0), stopped);
    cr_assert(json_get_int(json_get(x, "best"), "id", 0) > 0);
    cJSON_Delete(x);
}

/* Goal: members that are not good enough at a rung end early with a reason of their own. */
Test(sweeps, the_worse_half_ends_early, .timeout = 90)
{
    struct service s = { .extra = { "--max-running", "2" } };
    service_start(&s);
    const int64_t id = make_sweep(&s, RATES, ASHA, "");
    cr_assert(wait_sweep(&s, id, "succeeded", 80));
    expect_halving(&s, id);
    service_end(&s);
}

/* Members whose last verdict is that they stop are asked to, if they have not ended already. */
static void expect_asked(const struct service *s, int64_t id)
{
    cJSON *x = read_sweep(s, id);
    const cJSON *m;
    cJSON_ArrayForEach(m, json_get(x, "items")) {
        const cJSON *rungs = json_get(m, "rungs");
        const cJSON *last = cJSON_GetArrayItem(rungs, cJSON_GetArraySize(rungs) - 1);
        if (strcmp(json_get_string(last, "verdict", ""), "stops") != 0) continue;
        cJSON *e = NULL;
        bool asked = false;
        for (const int64_t until = clock_mono_ms() + 1000; !asked && clock_mono_ms() < until;) {
            cJSON_Delete(e);
            e = experiment(s, json_get_int(m, "id", 0));
            asked = strcmp(json_get_string(e, "desired", ""), "cancel") == 0 ||
                    strcmp(json_get_string(e, "state", ""), "succeeded") == 0;
        }
        cr_assert(asked, "%lld trains on", (long long)json_get_int(m, "id", 0));
        cJSON_Delete(e);
    }
    cJSON_Delete(x);
}

static void hit(const char *point, int which)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    (void)snprintf(c.crash_env, sizeof c.crash_env, "SPIKED_CRASH=%s:1", point);
    service_restart(&c.s);
    char *body = sweep_body(RATES, ASHA, "");
    const char *const key[] = { "Idempotency-Key: k", NULL };
    struct answer a = http_call(&c.s, "POST", SWEEPS, body, key);
    answer_free(&a);
    int64_t hits[CRASH_POINT_COUNT] = { 0 };
    for (const int64_t until = clock_mono_ms() + 40000;
         hits[which] == 0 && clock_mono_ms() < until;) {
        sleep_ms(20);
        chaos_hits(&c, hits);
    }
    cr_assert_eq(hits[which], 1, "%s was not hit", point);
    service_kill(&c.s);
    c.crash_env[strlen("SPIKED_CRASH=")] = '\0';
    service_restart(&c.s);
    a = http_call(&c.s, "POST", SWEEPS, body, key);
    cr_assert(a.status == 201 && json_get_int(a.json, "members", 0) == 6, "%s", a.body);
    answer_free(&a);
    expect_status(&c.s, "GET", EXPERIMENTS, NULL, 200, "\"total\":6");
    expect_status(&c.s, "GET", SWEEPS, NULL, 200, "\"next_cursor\":null");
    expect_asked(&c.s, 1);
    cr_assert(wait_sweep(&c.s, 1, "succeeded", 80));
    expect_halving(&c.s, 1);
    mem_free(body);
    chaos_close(&c);
}

/* Goal: a daemon that dies where a member is judged loses and doubles no verdict; the campaign of
 * test_chaos.c dies at all points of sweeps. */
Test(sweeps, killed_before_a_decision, .timeout = 120)
{
    hit("rung.before_commit", CRASH_RUNG_BEFORE_COMMIT);
}
Test(sweeps, killed_after_a_decision, .timeout = 120)
{
    hit("rung.after_commit", CRASH_RUNG_AFTER_COMMIT);
}
Test(sweeps, killed_before_a_member_is_stopped, .timeout = 120)
{
    hit("prune.before_commit", CRASH_PRUNE_BEFORE_COMMIT);
}
