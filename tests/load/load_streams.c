/* load_streams: the row of many watchers. See load.h. */
#include "common/clock.h"
#include "tests/load/load.h"
#include "tests/load/load_watchers.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#define EVENTS_PER_S 5

/* So many changes of an experiment a second; each is one event for everybody. */
static int64_t make_events(struct load *l, int64_t id, double seconds)
{
    char path[60], body[60];
    int64_t n = 0;
    const int64_t began_ms = clock_mono_ms();
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64, id);
    while ((double)n < seconds * EVENTS_PER_S) {
        const int64_t due = began_ms + n * 1000 / EVENTS_PER_S, now = clock_mono_ms();
        if (due > now) sleep_ms((int)(due - now));
        (void)snprintf(body, sizeof body, "{\"name\": \"at %" PRId64 "\"}", clock_mono_ns());
        struct answer a = http_call(&l->s, "PATCH", path, body, NULL);
        cr_assert(a.status == 200, "%ld %s", a.status, a.body);
        answer_free(&a);
        n++;
    }
    return n;
}

void rows_of_streams(struct load *l)
{
    struct watchers u = { 0 };
    const double seconds = l->seconds < 10 ? l->seconds : 10;
    load_start(l, NULL);
    load_queue(l, "pause");
    const int64_t id = load_submit(l, "quick 1");
    const double before_mib = process_rss_mib(l->s.pid);
    watchers_open(l, &u, (size_t)l->streams);
    cr_assert_eq((size_t)load_metric(l, "spiked_sse_streams"), u.streams);
    const double cpu_s = process_cpu_s(l->s.pid);
    const int64_t began_ns = clock_mono_ns();
    const int64_t made = make_events(l, id, seconds);
    const double took_s = (double)(clock_mono_ns() - began_ns) * 1e-9;
    const double share = 100 * (process_cpu_s(l->s.pid) - cpu_s) / took_s;
    const double each_kib = 1024 * (process_rss_mib(l->s.pid) - before_mib) / (double)u.streams;
    const struct watchers_report r = watchers_end(&u);
    const int64_t lost = made * r.streams - r.events;
    load_row(l, "watchers x 5 events/s, CPU of the daemon", share, "%", LOAD_AT_MOST, 15, 200,
             "of a core, %" PRId64 " streams of %zu users; an event's way, p99 %.0f ms", r.streams,
             u.n, r.p99_ms);
    load_row(l, "memory of a watcher", each_kib, "KiB", LOAD_AT_MOST, 40, 400, "%s",
             u.streams < (size_t)l->streams ? "(not root: one user's streams only)" : "");
    load_row(l, "state events lost", (double)lost, "", LOAD_AT_MOST, 0, 0,
             "%" PRId64
             " delivered; breaks resumed exactly: %s, not let in again for 20 s: %" PRId64,
             r.events, r.resumed_wrong == 0 ? "yes" : "NO", r.kept_out);
    cr_assert(lost == 0 && r.gaps == 0 && r.resets == 0 && r.ended == 0 && r.resumed_wrong == 0,
              "lost %" PRId64 ", gaps %" PRId64 ", resets %" PRId64 ", ended %" PRId64
              ", resumed wrong %" PRId64,
              lost, r.gaps, r.resets, r.ended, r.resumed_wrong);
    load_end(l);
}
