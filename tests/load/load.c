/* load: the daemon, the table, and what processes cost. See load.h. */
#include "tests/load/load.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the table ------------------------------------------------------------------------------ */
static void print_row(const char *what, const char *figure, const char *goal, const char *verdict,
                      const char *note)
{
    (void)printf("| %-46s | %14s | %14s | %-7s | %s\n", what, figure, goal, verdict, note);
    (void)fflush(stdout);
}

void load_row(struct load *l, const char *what, double figure, const char *unit,
              enum load_better better, double goal, double modest, const char *note, ...)
{
    char text[40], limit[40], more[300];
    va_list args;
    va_start(args, note);
    (void)vsnprintf(more, sizeof more, note, args);
    va_end(args);
    const bool least = better == LOAD_AT_LEAST;
    const bool reached = least ? figure >= goal : figure <= goal;
    const int digits = figure >= 100 ? 0 : figure >= 10 ? 1 : 3;
    (void)snprintf(text, sizeof text, "%.*f %s", digits, figure, unit);
    (void)snprintf(limit, sizeof limit, "%s %g %s", least ? ">=" : "<=", goal, unit);
    print_row(what, text, limit, reached ? "reached" : "MISSED", more);
    l->reached += reached;
    l->missed += !reached;
    if (l->small)
        cr_assert(least ? figure >= modest : figure <= modest,
                  "%s: %s, even a small machine has %s %g", what, text,
                  least ? ">=" : "<=", modest);
}

void load_row_absent(struct load *l, const char *what, const char *why)
{
    (void)l;
    print_row(what, "-", "-", "not yet", why);
}

/* ---- the daemon ----------------------------------------------------------------------------- */
void load_start(struct load *l, const char *const *arguments)
{
    size_t n = 0;
    l->s = (struct service){ 0 };
    l->s.extra[n++] = "--log-level";
    l->s.extra[n++] = "warn";
    l->s.extra[n++] = "--worker-program";
    l->s.extra[n++] = "build/load/fake-worker";
    for (; arguments != NULL && *arguments != NULL; arguments++) l->s.extra[n++] = *arguments;
    cr_assert(n < sizeof l->s.extra / sizeof l->s.extra[0]);
    service_start(&l->s);
    (void)snprintf(l->socket, sizeof l->socket, "%s/state/api.sock", l->s.folder);
}

void load_end(struct load *l) { service_end(&l->s); }

/* ---- what processes cost -------------------------------------------------------------------- */
double process_cpu_s(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert(f != NULL && fgets(text, sizeof text, f) != NULL, "%s", path);
    (void)fclose(f);
    const char *at = strrchr(text, ')');
    cr_assert(at != NULL && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                   &user, &system) == 2);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double process_rss_mib(pid_t pid)
{
    char path[64];
    long resident = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert(f != NULL && fscanf(f, "%*d %ld", &resident) == 1, "%s", path);
    (void)fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

/* ---- GET /metrics --------------------------------------------------------------------------- */
double load_metric(const struct load *l, const char *sample)
{
    struct answer a = http_get(&l->s, "/metrics");
    const size_t n = strlen(sample);
    double value = NAN;
    cr_assert(a.status == 200, "/metrics: %ld %s", a.status, a.body);
    for (const char *line = a.body; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1)
        if (strncmp(line, sample, n) == 0 && line[n] == ' ') value = strtod(line + n, NULL);
    cr_assert(!isnan(value), "/metrics has no %s", sample);
    answer_free(&a);
    return value;
}

struct load_histogram load_histogram(const struct load *l, const char *family)
{
    struct answer a = http_get(&l->s, "/metrics");
    struct load_histogram h = { 0 };
    char bucket[80], sum[80];
    cr_assert(a.status == 200, "/metrics: %ld %s", a.status, a.body);
    (void)snprintf(bucket, sizeof bucket, "%s_bucket{le=\"", family);
    (void)snprintf(sum, sizeof sum, "%s_sum ", family);
    for (const char *line = a.body; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(line, sum, strlen(sum)) == 0) h.sum = strtod(line + strlen(sum), NULL);
        if (strncmp(line, bucket, strlen(bucket)) != 0) continue;
        cr_assert(h.n < LOAD_BOUNDS_MAX);
        h.bounds[h.n] = strtod(line + strlen(bucket), NULL); /* "+Inf" is infinite */
        h.counts[h.n++] = strtod(strchr(line, '}') + 1, NULL);
    }
    cr_assert(h.n > 0, "/metrics has no %s", family);
    answer_free(&a);
    return h;
}

double load_quantile(const struct load_histogram *before, const struct load_histogram *after,
                     double share)
{
    const double total = after->counts[after->n - 1] - before->counts[before->n - 1];
    for (size_t i = 0; i < after->n; i++)
        if (after->counts[i] - before->counts[i] >= share * total) return after->bounds[i];
    return INFINITY;
}

double load_mean(const struct load_histogram *before, const struct load_histogram *after)
{
    const double n = after->counts[after->n - 1] - before->counts[before->n - 1];
    return n > 0 ? (after->sum - before->sum) / n : 0;
}
