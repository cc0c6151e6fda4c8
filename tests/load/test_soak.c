/* The soak: short experiments come and go as fast as the daemon runs them while 200 streams are
 * read, and what it holds must not grow: memory, descriptors, write-ahead logs. A line a minute.
 *   SOAK_SECONDS=3600 make soak      (24 h: SOAK_SECONDS=86400)
 * Finished experiments are deleted behind the newest KEPT, as an owner would, so the list itself
 * does not grow. */
#include "common/clock.h"
#include "tests/load/load.h"
#include "tests/load/load_watchers.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT 24 /* experiments: 8 run, the others wait or have ended */
#define MINUTES_MAX 3000
#define WARM_SHARE 0.25 /* of the time: pools and caches fill */
#define RSS_MIB_PER_HOUR 8.0
#define FDS_PER_HOUR 12.0 /* what eight slots hold goes up and down by as many */
#define SHORT_S 600       /* below, so much growth at all is no slope yet: */
#define SHORT_RSS_MIB 8.0
#define SHORT_FDS 16.0
#define WAL_MIB_MAX 64.0

struct reading {
    double hours, rss_mib, fds, wal_mib;
};
struct soak {
    struct load l;
    struct reading readings[MINUTES_MAX];
    size_t n;
    atomic_bool stop;
    int64_t submitted, deleted, refused;
};

/* ---- churn ---------------------------------------------------------------------------------- */
struct churn {
    struct soak *s;
    int64_t key, newest, next_delete;
    bool deleting;
};

/* One after the other: a new experiment, and the oldest finished one goes. */
static size_t next_churn(void *ctx, size_t connection, char *out, size_t room)
{
    struct churn *c = ctx;
    char path[60], key[60];
    static const char spec[] =
        "{\"version\": 1, \"name\": \"quick 5\", \"dataset\": {\"name\": \"glyphs\"}, \"network\":"
        " {\"layers\": [{\"type\": \"flatten\"}, {\"type\": \"linear\", \"out_features\": 10}]}}";
    (void)connection;
    if (atomic_load(&c->s->stop)) return 0;
    c->deleting = c->newest - c->next_delete >= KEPT;
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64 "?purge=true", c->next_delete);
    if (c->deleting) return swarm_request(out, room, "DELETE", path, "", NULL);
    (void)snprintf(key, sizeof key, "Idempotency-Key: soak-%" PRId64 "\r\n", c->key++);
    return swarm_request(out, room, "POST", "/api/v1/experiments", key, spec);
}

/* What still waits or runs cannot be deleted (409): the churn waits for it, so AHEAD .. KEPT of
 * them are there. */
static void churned(void *ctx, size_t connection, int status, const char *body, size_t length)
{
    struct churn *c = ctx;
    (void)connection;
    (void)length;
    const char *id = strstr(body, "\"id\":");
    if (c->deleting && status == 204) {
        c->next_delete++;
        c->s->deleted++;
    } else if (c->deleting && status == 409) {
        sleep_ms(5);
    } else if (!c->deleting && status == 201 && id != NULL) {
        c->newest = strtoll(id + 5, NULL, 10);
        c->s->submitted++;
    } else {
        c->s->refused++;
    }
}

static void *churn(void *arg)
{
    struct soak *s = arg;
    struct churn c = { .s = s, .next_delete = 1 };
    struct swarm w = { .unix_path = s->l.socket,
                       .connections = 1,
                       .next = next_churn,
                       .answered = churned,
                       .ctx = &c };
    swarm_run(&w);
    s->refused += w.broken;
    swarm_deinit(&w);
    return NULL;
}

/* ---- what it holds -------------------------------------------------------------------------- */
static void take_reading(struct soak *s, double seconds)
{
    struct reading *r = &s->readings[s->n];
    cr_assert(s->n < MINUTES_MAX);
    *r = (struct reading){ seconds / 3600,
                           load_metric(&s->l, "process_resident_memory_bytes") / 1048576,
                           load_metric(&s->l, "process_open_fds"),
                           (load_metric(&s->l, "spiked_wal_bytes{database=\"spiked\"}") +
                            load_metric(&s->l, "spiked_wal_bytes{database=\"metrics\"}")) /
                               1048576 };
    s->n++;
    (void)printf("soak: %6.0f s  memory %7.1f MiB  descriptors %4.0f  logs %6.1f MiB  ended %8.0f"
                 "  (%.0f/s)  streams %.0f\n",
                 seconds, r->rss_mib, r->fds, r->wal_mib, (double)s->deleted,
                 (double)s->deleted / seconds, load_metric(&s->l, "spiked_sse_streams"));
    (void)fflush(stdout);
}

/* Least squares over what came after the warm-up; an hour is the unit. */
static double slope(const struct soak *s, size_t member)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (size_t i = (size_t)(WARM_SHARE * (double)s->n); i < s->n; i++) {
        const double h = s->readings[i].hours;
        const double v = *(const double *)(const void *)((const char *)&s->readings[i] + member);
        n++;
        x += h;
        y += v;
        xx += h * h;
        xy += h * v;
    }
    const double d = n * xx - x * x;
    return d > 0 ? (n * xy - x * y) / d : 0;
}

static double largest_log(const struct soak *s)
{
    double most = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->readings[i].wal_mib > most) most = s->readings[i].wal_mib;
    return most;
}

static void judge(const struct soak *s, double seconds)
{
    const double rss = slope(s, offsetof(struct reading, rss_mib));
    const double fds = slope(s, offsetof(struct reading, fds));
    const double short_runs = seconds < SHORT_S ? 3600 / seconds : 0; /* to an hour */
    (void)printf("soak: memory %+.2f MiB/h, descriptors %+.2f/h, largest logs %.1f MiB, %" PRId64
                 " experiments, %" PRId64 " answers refused\n",
                 rss, fds, largest_log(s), s->submitted, s->refused);
    (void)fflush(stdout);
    cr_assert_gt(s->deleted, seconds, "less than an experiment a second");
    cr_assert_eq(s->refused, 0);
    cr_assert_leq(largest_log(s), WAL_MIB_MAX);
    cr_assert_leq(rss, RSS_MIB_PER_HOUR + SHORT_RSS_MIB * short_runs);
    cr_assert_leq(fds, FDS_PER_HOUR + SHORT_FDS * short_runs);
}

/* Goal: an hour of churn leaves memory, descriptors and logs where they were, no watcher misses a
 * state, no request is refused. */
Test(soak, nothing_grows, .timeout = 90000)
{
    static const char *const arguments[] = { "--max-running", "8", LOAD_SUBMIT_FREELY, NULL };
    static struct soak s;
    struct watchers u = { .mixed = true };
    const char *text = getenv("SOAK_SECONDS");
    const double seconds = text != NULL && text[0] != '\0' ? strtod(text, NULL) : 10;
    const double every_s = seconds >= 600 ? 60 : seconds / 10;
    pthread_t thread;
    load_start(&s.l, arguments);
    watchers_open(&s.l, &u, seconds >= 600 ? 200 : 60);
    cr_assert(pthread_create(&thread, NULL, churn, &s) == 0);
    const int64_t began_ms = clock_mono_ms();
    for (double due = every_s; due <= seconds + 0.01; due += every_s) {
        const int64_t wait = began_ms + (int64_t)(1000 * due) - clock_mono_ms();
        if (wait > 0) sleep_ms((int)wait);
        take_reading(&s, (double)(clock_mono_ms() - began_ms) / 1000);
    }
    atomic_store(&s.stop, true);
    (void)pthread_join(thread, NULL);
    const struct watchers_report r = watchers_end(&u);
    (void)printf("soak: %" PRId64 " events delivered to %" PRId64 " streams\n", r.events,
                 r.streams);
    cr_assert(r.events > 0 && r.disorder == 0 && r.resets == 0 && r.ended == 0,
              "out of order %" PRId64 ", resets %" PRId64 ", ended %" PRId64, r.disorder, r.resets,
              r.ended);
    judge(&s, seconds);
    load_end(&s.l);
}
