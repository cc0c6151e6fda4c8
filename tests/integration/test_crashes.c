/* Stories of what the fault campaign found: each is one fault of test_chaos.c that is always hit.
 */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/chaos/chaos_rounds.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static int64_t submit_small(struct chaos *c)
{
    char *spec = client_spec(0, "story");
    const int64_t id = submit(&c->s, spec);
    mem_free(spec);
    return id;
}

static void arm(struct chaos *c, const char *point)
{
    (void)snprintf(c->crash_env, sizeof c->crash_env, "SPIKED_CRASH=%s", point);
}

static void wait_daemon_dead(struct chaos *c, int crash_point)
{
    int64_t hits[CRASH_POINT_COUNT] = { 0 };
    for (const int64_t until = clock_mono_ms() + 10000;
         hits[crash_point] == 0 && clock_mono_ms() < until;) {
        sleep_ms(20);
        chaos_hits(c, hits);
    }
    cr_assert(hits[crash_point] == 1);
    service_kill(&c->s); /* reaps it */
    arm(c, "");
}

/* Goal: a worker that no row knows of does not live: the daemon that started it died before it had
 * written the process down, and the next one could start another beside it. */
Test(crashes, no_worker_lives_that_no_row_names, .timeout = 120)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    arm(&c, "spawn.before_pid_row:1");
    service_restart(&c.s);
    const int64_t id = submit_small(&c);
    wait_daemon_dead(&c, CRASH_SPAWN_BEFORE_PID_ROW);
    for (int i = 0; i < 50 && service_processes(&c.s) > 0; i++) sleep_ms(20);
    cr_assert(service_processes(&c.s) == 0, "a worker lives on");
    service_restart(&c.s);
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
    cr_assert(experiment_int(&c.s, id, NULL, "attempt") == 2);
    chaos_close(&c);
}

/* Goal: an attempt that never began is not called a restart of the machine, nor counted. */
Test(crashes, a_claim_without_a_worker_names_its_reason, .timeout = 120)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    arm(&c, "claim.after_commit:1");
    service_restart(&c.s);
    const int64_t id = submit_small(&c);
    wait_daemon_dead(&c, CRASH_CLAIM_AFTER_COMMIT);
    service_restart(&c.s);
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
    struct answer a = http_get(&c.s, "/api/v1/experiments/1/attempts");
    const cJSON *first = cJSON_GetArrayItem(json_get(a.json, "items"), 0);
    if (json_get_int(first, "attempt", 0) != 1)
        first = cJSON_GetArrayItem(json_get(a.json, "items"), 1);
    cr_assert(strcmp(json_get_string(first, "reason", ""), "daemon_restart") == 0, "%s", a.body);
    answer_free(&a);
    chaos_close(&c);
}

/* Experiment 1, in training, is asked to stop by a signal; no answer reaches its worker from then
 * on, so that it says its last message again and again. */
static pid_t stop_deaf_worker(struct chaos *c)
{
    chaos_open(c, 1, 1);
    service_restart(&c->s);
    cr_assert(submit_small(c) == 1 && wait_step(&c->s, 1, 30, 60));
    const pid_t worker = service_worker(&c->s);
    atomic_store(&c->faults->lose, 100000);
    cr_assert(worker > 0 && kill(worker, SIGTERM) == 0);
    return worker;
}

/* Goal: an experiment that is queued again waits until its old worker is gone. */
Test(crashes, the_next_attempt_waits_for_the_old_worker, .timeout = 120)
{
    static struct chaos c;
    const pid_t old = stop_deaf_worker(&c);
    const int64_t id = 1;
    cr_assert(wait_state(&c.s, id, "queued|starting", 30));
    sleep_ms(600);
    cr_assert(kill(old, 0) == 0 && service_processes(&c.s) == 2, "%d processes",
              service_processes(&c.s)); /* the daemon and that worker */
    atomic_store(&c.faults->lose, 0);
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
    cr_assert(experiment_int(&c.s, id, NULL, "attempt") == 2);
    chaos_close(&c);
}

/* Goal: a wall clock that is set back by hours does not prolong the wait after a fault, neither in
 * this daemon nor in the next. */
Test(crashes, a_clock_set_back_prolongs_no_backoff, .timeout = 120)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    c.s.extra[1] = "1500"; /* --retry-delay-ms */
    service_restart(&c.s);
    const int64_t id = submit_small(&c);
    for (int restart = 0; restart < 2; restart++) {
        cr_assert(wait_state(&c.s, id, "running", 60));
        cr_assert(kill(service_worker(&c.s), SIGKILL) == 0);
        cr_assert(wait_state(&c.s, id, "backoff", 5));
        atomic_fetch_sub(&c.faults->wall_ms, 5 * 3600 * 1000);
        if (restart == 1) {
            service_kill(&c.s);
            service_restart(&c.s);
        }
        cr_assert(wait_state(&c.s, id, "starting|running|succeeded", 10));
    }
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
    chaos_close(&c);
}

/* Goal: a death that is seen while the disk is full is written down once there is room again, not
 * when the lease of the dead worker runs out. */
Test(crashes, a_death_on_a_full_disk_is_not_forgotten, .timeout = 120)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    service_restart(&c.s);
    const int64_t id = submit_small(&c);
    cr_assert(wait_step(&c.s, id, 30, 60));
    const pid_t worker = service_worker(&c.s);
    cr_assert(worker > 0 && kill(worker, SIGSTOP) == 0);
    atomic_store(&c.faults->disk_full, 1);
    cr_assert(kill(worker, SIGKILL) == 0);
    sleep_ms(1000);
    cr_assert(wait_state(&c.s, id, "running", 1));
    cr_assert(atomic_load(&c.faults->writes_refused) > 0);
    atomic_store(&c.faults->disk_full, 0);
    cr_assert(wait_state(&c.s, id, "succeeded", 20));
    cr_assert(experiment_int(&c.s, id, NULL, "attempt") == 2);
    chaos_close(&c);
}

/* Goal: a worker whose last message is in and that does not end is killed when its lease is over,
 * so that the next attempt can begin; here it is halted. */
Test(crashes, a_worker_that_does_not_end_is_killed, .timeout = 120)
{
    static struct chaos c;
    const pid_t old = stop_deaf_worker(&c);
    const int64_t id = 1;
    cr_assert(wait_state(&c.s, id, "queued", 30));
    cr_assert(kill(old, SIGSTOP) == 0);
    atomic_store(&c.faults->lose, 0);
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
    cr_assert(experiment_int(&c.s, id, NULL, "attempt") == 2);
    chaos_close(&c);
}

/* Goal: the daemon dies between an end and what waits for it: the next one lets that go on. */
Test(crashes, what_waits_for_an_end_is_not_forgotten, .timeout = 120)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    arm(&c, "finish.after_commit:1");
    service_restart(&c.s);
    const int64_t first = submit_small(&c);
    char *spec = client_spec(0, "story"),
         *after = mem_printf("{\"after\": [{\"experiment\": %" PRId64 "}], %s", first,
                             strchr(spec, '{') + 1);
    const int64_t second = submit(&c.s, after);
    mem_free(spec);
    mem_free(after);
    wait_daemon_dead(&c, CRASH_FINISH_AFTER_COMMIT);
    service_restart(&c.s);
    cr_assert(wait_state(&c.s, first, "succeeded", 1) && wait_state(&c.s, second, "succeeded", 60));
    chaos_close(&c);
}

/* Goal: the daemon dies between a deletion's commit and its answer: the next one does not have the
 * experiment, and removes what it left. */
Test(crashes, a_deletion_is_finished_by_the_next_daemon, .timeout = 120)
{
    static struct chaos c;
    chaos_open(&c, 1, 1);
    service_restart(&c.s);
    const int64_t id = submit_small(&c);
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
    cJSON *x = experiment(&c.s, id);
    char *folder = mem_printf("%s/state/files/%s", c.s.folder, json_get_string(x, "uid", ""));
    cJSON_Delete(x);
    service_stop(&c.s);
    arm(&c, "action.after_commit:1");
    service_restart(&c.s);
    struct answer a = http_call(&c.s, "DELETE", "/api/v1/experiments/1?purge=true", NULL, NULL);
    cr_assert_eq(a.status, 0);
    answer_free(&a);
    wait_daemon_dead(&c, CRASH_ACTION_AFTER_COMMIT);
    cr_assert(access(folder, F_OK) == 0, "%s", folder);
    service_restart(&c.s);
    a = http_get(&c.s, "/api/v1/experiments/1");
    cr_assert_eq(a.status, 404);
    answer_free(&a);
    for (int i = 0; access(folder, F_OK) == 0 && i < 100; i++) sleep_ms(50);
    cr_assert(access(folder, F_OK) != 0, "its files are left");
    mem_free(folder);
    chaos_close(&c);
}
