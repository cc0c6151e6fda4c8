/* load_rest: a daemon that has nothing to do, and the smallest things asked of it: idle, healthz,
 * from a submission to its process. See load.h. */
#include "common/clock.h"
#include "tests/load/load.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void row_idle(struct load *l)
{
    const int seconds = l->small ? 2 : 10;
    sleep_ms(500); /* what the start itself cost */
    const double before = process_cpu_s(l->s.pid);
    sleep_ms(1000 * seconds);
    const double share = 100 * (process_cpu_s(l->s.pid) - before) / seconds;
    load_row(l, "idle daemon, memory", process_rss_mib(l->s.pid), "MiB", LOAD_AT_MOST, 20, 40,
             "fresh, no experiment");
    load_row(l, "idle daemon, CPU", share, "%", LOAD_AT_MOST, 0.5, 3, "of a core, %d s", seconds);
}

/* ---- healthz -------------------------------------------------------------------------------- */
static double seconds_of(const char *text)
{
    char *unit;
    const double v = strtod(text, &unit);
    return strncmp(unit, "us", 2) == 0 ? v * 1e-6 : strncmp(unit, "ms", 2) == 0 ? v * 1e-3 : v;
}

/* What wrk prints: "    99%    1.20ms" and "Requests/sec:  51234.11"; false without wrk. */
static bool ask_wrk(const struct load *l, int seconds, double *per_s, double *p99_ms)
{
    char command[200], line[256];
    (void)snprintf(command, sizeof command,
                   "wrk -t1 -c16 -d%ds --latency http://127.0.0.1:%d/healthz 2>/dev/null", seconds,
                   l->s.port);
    FILE *f = popen(command, "r");
    *per_s = *p99_ms = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *at;
        if ((at = strstr(line, "99%")) != NULL) *p99_ms = 1000 * seconds_of(at + 3);
        if ((at = strstr(line, "Requests/sec:")) != NULL) *per_s = strtod(at + 13, NULL);
        cr_assert(strstr(line, "Non-2xx") == NULL, "%s", line);
    }
    if (f != NULL) (void)pclose(f);
    return *per_s > 0;
}

static size_t next_health(void *ctx, size_t connection, char *out, size_t room)
{
    (void)ctx;
    (void)connection;
    return swarm_request(out, room, "GET", "/healthz", "", NULL);
}

static void row_health(struct load *l)
{
    const int seconds = l->seconds < 10 ? (int)l->seconds : 10;
    const char *with = "wrk -t1 -c16";
    double per_s, p99_ms;
    if (!ask_wrk(l, seconds, &per_s, &p99_ms)) {
        struct swarm w = {
            .port = l->s.port, .connections = 16, .seconds = seconds, .next = next_health
        };
        swarm_run(&w);
        per_s = (double)w.good / w.took_s;
        p99_ms = samples_at(&w.ms, 0.99);
        cr_assert(w.refused == 0 && w.broken == 0);
        swarm_deinit(&w);
        with = "own client, 16 connections (no wrk: deploy/setup.sh load)";
    }
    load_row(l, "GET /healthz", per_s, "/s", LOAD_AT_LEAST, 40000, 2000, "%s", with);
    load_row(l, "GET /healthz, p99", p99_ms, "ms", LOAD_AT_MOST, 5, 50, "the same run");
}

/* ---- from a submission to its process ------------------------------------------------------- */
/* "started NS", the first line of the worker's output; 0 = not yet. */
static int64_t started_ns(const struct load *l, int64_t id)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64 "/logs?offset=0&limit=100",
                   id);
    struct answer a = http_get(&l->s, path);
    const char *at = a.status == 200 && a.body != NULL ? strstr(a.body, "started ") : NULL;
    const int64_t ns = at != NULL ? strtoll(at + 8, NULL, 10) : 0;
    answer_free(&a);
    return ns;
}

static void row_start(struct load *l)
{
    struct samples ms = { 0 };
    const int n = l->small ? 20 : 200;
    for (int i = 0; i < n; i++) {
        const int64_t asked_ns = clock_mono_ns();
        const int64_t id = load_submit(l, "quick 1");
        cr_assert(wait_state(&l->s, id, "succeeded", 20));
        const int64_t ns = started_ns(l, id);
        cr_assert(ns > asked_ns, "no first line of experiment %" PRId64, id);
        samples_add(&ms, (double)(ns - asked_ns) * 1e-6);
    }
    load_row(l, "submit to worker process started, p99", samples_at(&ms, 0.99), "ms", LOAD_AT_MOST,
             100, 2000, "%d, one by one; median %.1f ms", n, samples_at(&ms, 0.5));
    samples_deinit(&ms);
}

void rows_at_rest(struct load *l)
{
    load_start(l, NULL);
    row_idle(l);
    row_health(l);
    row_start(l);
    load_end(l);
}
