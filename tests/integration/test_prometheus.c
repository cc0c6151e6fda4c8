/* Story of GET /metrics: every line is what Prometheus reads, names keep its conventions, labels
 * are bounded, and the numbers move with what happens. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES_MAX 4000
#define NAME_MAX_BYTES 64

struct scrape {
    struct answer a;
    char *lines[SAMPLES_MAX]; /* "name{labels} value", within the body */
    size_t n;
};

static bool matches(const char *pattern, const char *text)
{
    regex_t r;
    cr_assert(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB) == 0, "%s", pattern);
    const bool yes = regexec(&r, text, 0, NULL, 0) == 0;
    regfree(&r);
    return yes;
}

#define NAME "[a-z][a-z0-9_]*"
#define LABEL NAME "=\"([^\"\\\\\n]|\\\\[\"\\\\n])*\""
#define NUMBER "(NaN|[+-]Inf|-?[0-9]+(\\.[0-9]+)?(e[+-]?[0-9]+)?)"

/* A sample belongs to the family that was opened last; of a histogram with one of three endings. */
static void check_sample(const char *line, const char *family, const char *type)
{
    const size_t n = strlen(family);
    cr_assert(matches("^" NAME "(\\{" LABEL "(," LABEL ")*\\})? " NUMBER "$", line), "%s", line);
    cr_assert(strncmp(line, family, n) == 0, "'%s' is not of %s", line, family);
    const char *rest = line + n;
    if (strcmp(type, "histogram") == 0)
        cr_assert(matches("^(_bucket\\{(.*,)?le=\"" NUMBER "\"\\}|_sum[{ ]|_count[{ ])", rest),
                  "%s", line);
    else cr_assert(rest[0] == '{' || rest[0] == ' ', "%s", line);
    cr_assert(strcmp(type, "counter") != 0 || strtod(strrchr(line, ' '), NULL) >= 0, "%s", line);
}

static void check_family(const char *name, const char *type)
{
    const bool total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
    cr_assert(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 ||
                  strcmp(type, "histogram") == 0,
              "%s %s", name, type);
    cr_assert(total == (strcmp(type, "counter") == 0), "%s is a %s", name, type);
    cr_assert(!matches("_(ms|us|mib|minutes)(_total)?$", name), "%s: base units only", name);
}

/* Reads it as a scraper does, strictly; families come once, each with help, type, samples. */
static void scrape(const struct service *s, struct scrape *out)
{
    char family[NAME_MAX_BYTES] = "", type[16] = "", seen[8192] = " ";
    *out = (struct scrape){ .a = http_get(s, "/metrics") };
    cr_assert_eq(out->a.status, 200);
    cr_assert(strstr(out->a.head, "Content-Type: text/plain; version=0.0.4") != NULL, "%s",
              out->a.head);
    cr_assert(out->a.length > 0 && out->a.body[out->a.length - 1] == '\n');
    char *rest = out->a.body;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            cr_assert(sscanf(line + 7, "%63s", family) == 1);
            cr_assert(matches("^# HELP " NAME " [A-Z0-9].*\\.$", line), "%s", line);
            char word[NAME_MAX_BYTES + 2];
            (void)snprintf(word, sizeof word, " %s ", family);
            cr_assert(strstr(seen, word) == NULL, "%s twice", family);
            (void)strncat(seen, word + 1, sizeof seen - strlen(seen) - 1);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            char name[NAME_MAX_BYTES];
            cr_assert(sscanf(line + 7, "%63s %15s", name, type) == 2 && strcmp(name, family) == 0);
            check_family(name, type);
        } else {
            check_sample(line, family, type);
            cr_assert(out->n < SAMPLES_MAX);
            out->lines[out->n++] = line;
        }
    }
}

/* Value of the sample "name{labels}"; -1: there is none. */
static double value(const struct scrape *m, const char *sample)
{
    const size_t n = strlen(sample);
    for (size_t i = 0; i < m->n; i++)
        if (strncmp(m->lines[i], sample, n) == 0 && m->lines[i][n] == ' ')
            return strtod(m->lines[i] + n, NULL);
    return -1;
}

/* Buckets never fall, and the last one equals the count. */
static void check_buckets(const struct scrape *m)
{
    double last = 0;
    for (size_t i = 0; i < m->n; i++) {
        const double v = strtod(strrchr(m->lines[i], ' '), NULL);
        if (strstr(m->lines[i], "_bucket{") != NULL) {
            cr_assert(v >= last, "%s", m->lines[i]);
            last = v;
        } else if (strstr(m->lines[i], "_count") != NULL) {
            cr_assert(v == last, "%s, last bucket %g", m->lines[i], last);
            last = 0;
        }
    }
}

static void expect_at_rest(const struct service *s)
{
    struct scrape m;
    scrape(s, &m);
    cr_assert_eq(value(&m, "spiked_experiments{state=\"queued\"}"), 0);
    cr_assert_eq(value(&m, "spiked_points_ingested_total"), 0);
    cr_assert_gt(value(&m, "process_resident_memory_bytes"), 1e6);
    cr_assert(value(&m, "process_open_fds") > 5 && value(&m, "process_open_fds") < 100);
    cr_assert(strstr(m.lines[5], "spiked_build_info{version=\"") == m.lines[5], "%s", m.lines[5]);
    answer_free(&m.a);
}

static void ask_odd_things(const struct service *s)
{
    static const char *const paths[] = { "/api/v1/experiments/1", "/api/v1/experiments/777",
                                         "/api/v1/experiments/888", "/no/such/path",
                                         "/another%22wrong%0Aone" };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct answer a = http_get(s, paths[i]);
        answer_free(&a);
    }
    struct answer a = http_call(s, "BREW", "/healthz", NULL, NULL);
    cr_assert_eq(a.status, 405);
    answer_free(&a);
}

/* Goal: the whole text is well formed before and after work, names and units are Prometheus', and
 * paths of requests never become labels. */
Test(prometheus, the_text_is_strict_and_its_numbers_move, .timeout = 60)
{
    struct service s = { 0 };
    struct scrape m;
    service_start(&s);
    expect_at_rest(&s);
    char *spec = small_spec(1, NULL);
    (void)submit(&s, spec);
    mem_free(spec);
    cr_assert(wait_state(&s, 1, "succeeded", 40));
    ask_odd_things(&s);
    scrape(&s, &m);
    check_buckets(&m);
    cr_assert_eq(value(&m, "spiked_experiments{state=\"succeeded\"}"), 1);
    cr_assert_eq(value(&m, "spiked_experiments{state=\"running\"}"), 0);
    cr_assert_eq(value(&m, "spiked_queue_wait_seconds_count"), 1);
    cr_assert_eq(value(&m, "spiked_claim_seconds_count"), 1);
    cr_assert_gt(value(&m, "spiked_points_ingested_total"), 36); /* steps, of several series */
    cr_assert_gt(value(&m, "spiked_events_published_total"), 4);
    cr_assert_gt(value(&m, "spiked_loop_lag_seconds_count"), 5);
    cr_assert_gt(value(&m, "spiked_writer_jobs_total{database=\"spiked\"}"), 4);
    cr_assert_gt(value(&m, "spiked_writer_batch_seconds_count{database=\"metrics\"}"), 0);
    cr_assert_gt(value(&m, "spiked_wal_bytes{database=\"metrics\"}"), 0);
    cr_assert_eq(value(&m, "spiked_http_requests_total{method=\"POST\",route=\"/api/v1/"
                           "experiments\",status=\"201\"}"),
                 1);
    cr_assert_eq(value(&m, "spiked_http_requests_total{method=\"GET\",route=\"/api/v1/"
                           "experiments/{}\",status=\"404\"}"),
                 2);
    cr_assert_eq(value(&m, "spiked_http_requests_total{method=\"other\",route=\"unmatched\","
                           "status=\"404\"}"),
                 1);
    cr_assert_eq(value(&m, "spiked_http_requests_total{method=\"other\",route=\"unmatched\","
                           "status=\"400\"}"),
                 1); /* control characters in a path */
    cr_assert_eq(value(&m, "spiked_http_requests_total{method=\"other\",route=\"unmatched\","
                           "status=\"405\"}"),
                 1);
    cr_assert_gt(value(&m, "spiked_http_request_duration_seconds_count{method=\"POST\","
                           "route=\"/worker/v1/frames\"}"),
                 0);
    for (size_t i = 0; i < m.n; i++)
        cr_assert(strstr(m.lines[i], "777") == NULL && strstr(m.lines[i], "such") == NULL &&
                      strstr(m.lines[i], "BREW") == NULL,
                  "%s", m.lines[i]);
    answer_free(&m.a);
    service_end(&s);
}

/* Goal: an open stream is counted while it is open; strangers on the machine read nothing. */
Test(prometheus, streams_are_counted_and_system_users_are_refused, .timeout = 60)
{
    struct service s = { 0 };
    struct scrape m;
    service_start(&s);
    char *text = http_stream(&s, "/api/v1/events?topics=experiments", "event: hello", 5);
    mem_free(text);
    const long status = http_status_as(&s, 12, "GET", "/metrics", NULL);
    cr_assert(status == 0 || status == 401, "%ld", status);
    const long user = http_status_as(&s, 1234, "GET", "/metrics", NULL);
    cr_assert(user == 0 || user == 200, "%ld", user);
    scrape(&s, &m);
    cr_assert_eq(value(&m, "spiked_http_requests_total{method=\"GET\",route=\"/api/v1/events\","
                           "status=\"200\"}"),
                 1);
    cr_assert_geq(value(&m, "spiked_sse_streams"), 0);
    answer_free(&m.a);
    service_end(&s);
}
