/* What a daemon makes of workers of the one before it, and of its own end: what was run and what
 * was not, and that no second worker begins beside one that may live. */
#include "tests/unit/server/queue_bench.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR_MS ((int64_t)3600 * 1000)

static struct bench b;

static const struct experiment *one(void) { return queue_find(b.q, 1); }

static void open_queue(void)
{
    bench_take_clock();
    bench_open(&b, 1);
    b.launcher.adoption = ADOPTION_DONE;
}

static void reopen_queue(void)
{
    bench_stop(&b);
    bench_reopen(&b);
    bench_settle(&b);
}

static void say(worker_message message, const char *body) { bench_worker(&b, message, 1, body); }
static void renew(void) { say(queue_worker_renew, "{\"step\": 5, \"batches\": 5}"); }

static int64_t of_attempt_1(const char *column)
{
    char sql[96];
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM attempt WHERE experiment=1 AND n=1", column);
    return bench_count(&b, sql);
}

/* Experiment 1 trains; its worker is heard for `heard_ms`. */
static void run_for(int64_t heard_ms)
{
    cr_assert_eq(bench_submit(&b, NULL, 0), 1);
    bench_settle(&b);
    cr_assert(b.launcher.started == 1 && b.launcher.released == 1);
    say(queue_worker_hello, HELLO);
    bench_settle(&b);
    cr_assert_eq(one()->state, STATE_RUNNING);
    for (int64_t at = 0; at < heard_ms; at += 10000) {
        bench_pass(&b, 10000);
        renew();
    }
    bench_pass(&b, 11000); /* the last sign is written; it was not heard any more */
}

static double usage_s(void)
{
    order_refresh(&b.q->order, bench_mono_ms);
    return order_user(&b.q->order, "ada")->usage;
}

/* The machine was off for so long; its monotonic clock began anew. */
static void reboot_after(int64_t ms)
{
    bench_stop(&b);
    bench_wall_ms += ms;
    bench_mono_ms = 50000;
    bench_reopen(&b);
    bench_settle(&b);
}

/* Goal: the time that a machine was off is nobody's running time: neither of a time limit nor of
 * fair share, now and at the start after that. */
Test(recovery, time_without_a_machine_is_not_run, .timeout = 20)
{
    open_queue();
    (void)snprintf(b.launcher.boot_id, sizeof b.launcher.boot_id,
                   "00000000-0000-0000-0000-000000000000");
    const int64_t began = bench_wall_ms;
    run_for(100000);
    reboot_after(24 * HOUR_MS);
    cr_expect_eq(one()->ran_ms, 100000, "%lld", (long long)one()->ran_ms);
    cr_expect_eq(of_attempt_1("ended_ms"), began + 100000);
    cr_expect_eq(of_attempt_1("reason='host_reboot'"), 1);
    cr_expect(one()->state == STATE_STARTING && one()->attempt == 2, "it goes on: %s",
              state_name(one()->state));
    cr_expect(usage_s() > 40 && usage_s() < 60, "100 s, half a day old twice: %g", usage_s());
    reboot_after(HOUR_MS);
    cr_expect(usage_s() < 60, "%g", usage_s());
    bench_close(&b);
}

/* Goal: a worker that trained on without a daemon and died has run until it last wrote. */
Test(recovery, a_worker_lived_until_it_last_wrote, .timeout = 20)
{
    char path[PATH_MAX];
    struct err e = { 0 };
    open_queue();
    const int64_t began_s = bench_wall_ms / 1000;
    run_for(100000);
    cr_assert_eq(queue_attempt_dir(b.q, 1, path, sizeof path - 6, &e), 0, "%s", e.text);
    (void)strcat(path, "/spool");
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const struct timespec times[2] = { { began_s + 300, 0 }, { began_s + 300, 0 } };
    cr_assert(fd >= 0 && futimens(fd, times) == 0 && close(fd) == 0);
    b.launcher.adoption = ADOPTION_GONE;
    bench_stop(&b);
    bench_wall_ms += 5 * HOUR_MS;
    bench_mono_ms += 5 * HOUR_MS;
    bench_reopen(&b);
    bench_settle(&b);
    cr_expect_eq(one()->ran_ms, 300000, "%lld", (long long)one()->ran_ms);
    cr_expect_eq(of_attempt_1("reason='worker_lost'"), 1);
    bench_close(&b);
}

/* Goal: a worker that lives on has run all the time, with a daemon and without. */
Test(recovery, a_worker_that_lives_has_run_all_the_time, .timeout = 20)
{
    open_queue();
    run_for(100000);
    bench_stop(&b);
    bench_wall_ms += HOUR_MS;
    bench_mono_ms += HOUR_MS;
    bench_reopen(&b);
    bench_settle(&b);
    cr_expect_eq(entry_ran_ms(queue_entry(b.q, 1)), 111000 + HOUR_MS);
    cr_expect(usage_s() > 3600 && usage_s() < 3711, "%g", usage_s());
    cr_expect(one()->state == STATE_RUNNING && one()->attempt == 1);
    bench_close(&b);
}

/* Goal: while nobody can tell whether a worker lives no other one begins, and it is asked until it
 * is known; then it is watched, or its death is judged. */
Test(recovery, no_worker_begins_beside_one_that_may_live, .timeout = 20)
{
    open_queue();
    run_for(10000);
    b.launcher.adoption = ADOPTION_UNKNOWN;
    reopen_queue();
    for (int i = 0; i < 5; i++) bench_pass(&b, 250);
    cr_expect(b.launcher.started == 1 && b.launcher.asked >= 5, "%d starts, %d tries",
              b.launcher.started, b.launcher.asked);
    cr_expect(one()->state == STATE_RUNNING && one()->attempt == 1);
    b.launcher.adoption = ADOPTION_DONE;
    bench_pass(&b, 250);
    const int known = b.launcher.asked;
    bench_pass(&b, 250);
    cr_expect_eq(b.launcher.asked, known, "it is watched");
    renew();
    b.launcher.adoption = ADOPTION_UNKNOWN;
    reopen_queue();
    bench_pass(&b, RESTART_GRACE_MS + 1000); /* its lease is over, but nobody could kill it */
    cr_expect(one()->state == STATE_RUNNING && b.launcher.started == 1);
    b.launcher.adoption = ADOPTION_DONE;
    bench_pass(&b, 250);
    cr_expect_geq(b.launcher.killed, 2, "it is killed once it can be");
    bench_close(&b);
}

/* Goal: the same, and it was gone: the next attempt begins. */
Test(recovery, a_death_that_is_found_late_is_judged, .timeout = 20)
{
    open_queue();
    run_for(10000);
    b.launcher.adoption = ADOPTION_UNKNOWN;
    reopen_queue();
    bench_pass(&b, 250);
    b.launcher.adoption = ADOPTION_GONE;
    bench_pass(&b, 250);
    cr_expect_eq(one()->state, STATE_BACKOFF, "%s", state_name(one()->state));
    cr_expect_eq(one()->ran_ms, 10000);
    bench_pass(&b, 1000);
    bench_pass(&b, 1000);
    cr_expect(one()->state == STATE_STARTING && one()->attempt == 2 && b.launcher.started == 2);
    bench_close(&b);
}

/* Goal: a claim that is in the writer when the daemon begins to end starts no worker, which nobody
 * would stop; the next daemon starts it. */
Test(recovery, a_claim_that_comes_with_the_end_starts_nothing, .timeout = 20)
{
    open_queue();
    b.q->o.stop_workers = true;
    cr_assert_eq(bench_submit(&b, NULL, 0), 1);
    cr_assert(!store_idle(b.q->main) && b.launcher.started == 0, "the claim is being written");
    bench_stop(&b);
    cr_expect_eq(b.launcher.started, 0);
    bench_reopen(&b);
    bench_settle(&b);
    cr_expect(one()->state == STATE_STARTING && one()->attempt == 2 && b.launcher.started == 1);
    cr_expect_eq(of_attempt_1("reason='daemon_restart'"), 1);
    cr_expect_eq(queue_entry(b.q, 1)->faults, 0);
    bench_close(&b);
}

/* Goal: loading may take as long as --start-timeout-s allows, as long as the worker says that it
 * lives; one that says nothing is given up after its lease. */
Test(recovery, a_start_has_a_bound_of_its_own, .timeout = 20)
{
    open_queue();
    cr_assert_eq(bench_submit(&b, NULL, 0), 1);
    bench_settle(&b);
    for (int s = 0; s < 590; s += 10) {
        say(queue_worker_renew, "{}");
        bench_pass(&b, 10000);
    }
    cr_expect(b.launcher.killed == 0 && one()->state == STATE_STARTING);
    say(queue_worker_renew, "{}");
    bench_pass(&b, 11000);
    cr_expect_eq(b.launcher.killed, 1);
    scheduler_worker_exit(b.q, 1, 1, (struct launcher_exit){ .signal = SIGKILL, .code = -1 });
    bench_settle(&b);
    cr_expect_eq(one()->reason, REASON_START_TIMEOUT);
    cr_expect(strstr(one()->message, "--start-timeout-s") != NULL, "%s", one()->message);
    for (int i = 0; i < 3; i++) bench_pass(&b, 1000);
    cr_assert(one()->state == STATE_STARTING && one()->attempt == 2);
    say(queue_worker_renew, "{}");
    bench_pass(&b, LEASE_MS + 1000);
    cr_expect_eq(b.launcher.killed, 2, "it fell silent");
    bench_close(&b);
}
