/* What a daemon makes of workers of the one before it, and of its own end: what was run and what
 * was not, and that no second worker begins beside one that may live. */
#include "tests/unit/server/queue_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR_MS ((int64_t)3600 * 1000)

static const struct experiment *one(void) { return queue_find(fx.q, 1); }

static void renew(void) { fixture_say(queue_worker_renew, "{\"step\": 5, \"batches\": 5}"); }

/* Experiment 1 trains; its worker is heard for `heard_ms`. */
static void run_for(int64_t heard_ms)
{
    fixture_submit(", \"resources\": {\"time_limit_s\": 7200}");
    fixture_settle_writes();
    cr_assert(fx.starts == 1 && fx.releases == 1);
    fixture_hello();
    cr_assert_eq(one()->state, STATE_RUNNING);
    for (int64_t at = 0; at < heard_ms; at += 10000) {
        fixture_pass(10000);
        renew();
    }
    fixture_pass(11000); /* the last sign is written; it was not heard any more */
}

static double usage_s(void)
{
    order_refresh(&fx.q->order, fixture_mono_ms);
    return order_user(&fx.q->order, "ada")->usage;
}

/* The machine was off for so long; its monotonic clock began anew. */
static void reboot_after(int64_t ms)
{
    fixture_end_queue();
    fixture_wall_ms += ms;
    fixture_mono_ms = 50000;
    fixture_reopen();
    fixture_settle_writes();
}

/* Goal: the time that a machine was off is nobody's running time: neither of a time limit nor of
 * fair share, now and at the start after that. */
Test(recovery, time_without_a_machine_is_not_run, .timeout = 20)
{
    fixture_open();
    (void)snprintf(fx.boot_id, sizeof fx.boot_id, "00000000-0000-0000-0000-000000000000");
    const int64_t began = fixture_wall_ms;
    run_for(100000);
    reboot_after(24 * HOUR_MS);
    cr_expect_eq(one()->ran_ms, 100000, "%lld", (long long)one()->ran_ms);
    cr_expect_eq(fixture_attempt_int(1, "ended_ms"), began + 100000);
    cr_expect_eq(fixture_attempt_int(1, "reason='host_reboot'"), 1);
    cr_expect(one()->state == STATE_STARTING && one()->attempt == 2, "it goes on: %s",
              state_name(one()->state));
    cr_expect(usage_s() > 40 && usage_s() < 60, "100 s, half a day old twice: %g", usage_s());
    reboot_after(HOUR_MS);
    cr_expect(usage_s() < 60, "%g", usage_s());
    fixture_close_all();
}

/* Goal: a worker that trained on without a daemon and died has run until it last wrote. */
Test(recovery, a_worker_lived_until_it_last_wrote, .timeout = 20)
{
    char path[PATH_MAX];
    struct err e = { 0 };
    fixture_open();
    const int64_t began_s = fixture_wall_ms / 1000;
    run_for(100000);
    cr_assert_eq(queue_attempt_dir(fx.q, 1, path, sizeof path - 6, &e), 0, "%s", e.text);
    (void)strcat(path, "/spool");
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const struct timespec times[2] = { { began_s + 300, 0 }, { began_s + 300, 0 } };
    cr_assert(fd >= 0 && futimens(fd, times) == 0 && close(fd) == 0);
    fx.adoption = ADOPTION_GONE;
    fixture_end_queue();
    fixture_wall_ms += 5 * HOUR_MS;
    fixture_mono_ms += 5 * HOUR_MS;
    fixture_reopen();
    fixture_settle_writes();
    cr_expect_eq(one()->ran_ms, 300000, "%lld", (long long)one()->ran_ms);
    cr_expect_eq(fixture_attempt_int(1, "reason='worker_lost'"), 1);
    fixture_close_all();
}

/* Goal: a worker that lives on has run all the time, with a daemon and without. */
Test(recovery, a_worker_that_lives_has_run_all_the_time, .timeout = 20)
{
    fixture_open();
    run_for(100000);
    fixture_end_queue();
    fixture_wall_ms += HOUR_MS;
    fixture_mono_ms += HOUR_MS;
    fixture_reopen();
    fixture_settle_writes();
    cr_expect_eq(entry_ran_ms(queue_entry(fx.q, 1)), 111000 + HOUR_MS);
    cr_expect(usage_s() > 3600 && usage_s() < 3711, "%g", usage_s());
    cr_expect(one()->state == STATE_RUNNING && one()->attempt == 1);
    fixture_close_all();
}

/* Goal: while nobody can tell whether a worker lives no other one begins, and it is asked until it
 * is known; then it is watched, or its death is judged. */
Test(recovery, no_worker_begins_beside_one_that_may_live, .timeout = 20)
{
    fixture_open();
    run_for(10000);
    fx.adoption = ADOPTION_UNKNOWN;
    fixture_end_queue();
    fixture_reopen();
    for (int i = 0; i < 5; i++) fixture_pass(250);
    cr_expect(fx.starts == 1 && fx.adoptions >= 5, "%d starts, %d tries", fx.starts, fx.adoptions);
    cr_expect(one()->state == STATE_RUNNING && one()->attempt == 1);
    fx.adoption = ADOPTION_DONE;
    fixture_pass(250);
    const int known = fx.adoptions;
    fixture_pass(250);
    cr_expect_eq(fx.adoptions, known, "it is watched");
    renew();
    fx.adoption = ADOPTION_UNKNOWN;
    fixture_end_queue();
    fixture_reopen();
    fixture_pass(RESTART_GRACE_MS + 1000); /* its lease is over, but nobody could kill it */
    cr_expect(one()->state == STATE_RUNNING && fx.starts == 1);
    fx.adoption = ADOPTION_DONE;
    fixture_pass(250);
    cr_expect_geq(fx.kills, 2, "it is killed once it can be");
    fixture_close_all();
}

/* Goal: the same, and it was gone: the next attempt begins. */
Test(recovery, a_death_that_is_found_late_is_judged, .timeout = 20)
{
    fixture_open();
    run_for(10000);
    fx.adoption = ADOPTION_UNKNOWN;
    fixture_end_queue();
    fixture_reopen();
    fixture_pass(250);
    fx.adoption = ADOPTION_GONE;
    fixture_pass(250);
    cr_expect_eq(one()->state, STATE_BACKOFF, "%s", state_name(one()->state));
    cr_expect_eq(one()->ran_ms, 10000);
    fixture_pass(1000);
    fixture_pass(1000);
    cr_expect(one()->state == STATE_STARTING && one()->attempt == 2 && fx.starts == 2);
    fixture_close_all();
}

/* Goal: a claim that is in the writer when the daemon begins to end starts no worker, which nobody
 * would stop; the next daemon starts it. */
Test(recovery, a_claim_that_comes_with_the_end_starts_nothing, .timeout = 20)
{
    fx.stop_workers = true;
    fixture_open();
    fixture_submit("");
    while (!fx.told) (void)uv_run(&fx.loop, UV_RUN_ONCE);
    cr_assert(!store_idle(fx.q->main) && fx.starts == 0, "the claim is being written");
    fixture_end_queue();
    cr_expect_eq(fx.starts, 0);
    fixture_reopen();
    fixture_settle_writes();
    cr_expect(one()->state == STATE_STARTING && one()->attempt == 2 && fx.starts == 1);
    cr_expect_eq(fixture_attempt_int(1, "reason='daemon_restart'"), 1);
    cr_expect_eq(queue_entry(fx.q, 1)->faults, 0);
    fx.q->o.stop_workers = false; /* nobody is there to pause */
    fixture_close_all();
}

/* Goal: loading may take as long as --start-timeout-s allows, as long as the worker says that it
 * lives; one that says nothing is given up after its lease. */
Test(recovery, a_start_has_a_bound_of_its_own, .timeout = 20)
{
    fixture_open();
    fixture_submit("");
    fixture_settle_writes();
    for (int s = 0; s < 590; s += 10) {
        fixture_say(queue_worker_renew, "{}");
        fixture_pass(10000);
    }
    cr_expect(fx.kills == 0 && one()->state == STATE_STARTING);
    fixture_say(queue_worker_renew, "{}");
    fixture_pass(11000);
    cr_expect_eq(fx.kills, 1);
    scheduler_worker_exit(fx.q, 1, 1, (struct launcher_exit){ .signal = SIGKILL, .code = -1 });
    fixture_settle_writes();
    cr_expect_eq(one()->reason, REASON_START_TIMEOUT);
    cr_expect(strstr(one()->message, "--start-timeout-s") != NULL, "%s", one()->message);
    for (int i = 0; i < 3; i++) fixture_pass(1000);
    cr_assert(one()->state == STATE_STARTING && one()->attempt == 2);
    fixture_say(queue_worker_renew, "{}");
    fixture_pass(LEASE_MS + 1000);
    cr_expect_eq(fx.kills, 2, "it fell silent");
    fixture_close_all();
}
