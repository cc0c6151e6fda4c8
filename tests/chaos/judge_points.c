/* judge: series of points, step and value bit by bit. See judge.h. */
#include "common/mem.h"
#include "tests/chaos/judge.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 512
#define SHOWN_MAX 5 /* faults of one kind shown a series; all are counted by the last line */

struct point {
    uint64_t step;
    double value;
};
struct series {
    char name[JUDGE_WORD_MAX];
    struct point *points;
    size_t n, capacity;
};
struct all_series {
    struct series *items;
    size_t n;
};

static bool system_series(const char *name) { return strncmp(name, "sys/", 4) == 0; }

static bool add(struct series *s, uint64_t step, double value)
{
    if (s->n == s->capacity) {
        const size_t capacity = 2 * s->capacity + 64;
        struct point *grown = mem_realloc_array(s->points, capacity, sizeof grown[0]);
        if (grown == NULL) return false;
        s->points = grown;
        s->capacity = capacity;
    }
    s->points[s->n++] = (struct point){ step, value };
    return true;
}

static struct series *named(struct all_series *all, const char *name)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->items[i].name, name) == 0) return &all->items[i];
    struct series *grown = mem_realloc_array(all->items, all->n + 1, sizeof grown[0]);
    if (grown == NULL) return NULL;
    all->items = grown;
    struct series *s = &all->items[all->n++];
    *s = (struct series){ 0 };
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static void free_all(struct all_series *all)
{
    for (size_t i = 0; i < all->n; i++) mem_free(all->items[i].points);
    mem_free(all->items);
}

/* metrics.ndjson: {"series":"train/loss","step":1,"time_ms":...,"value":2.29}, values that are not
 * finite in quotes. */
static bool read_undisturbed(const char *path, struct all_series *all)
{
    char line[LINE_MAX_BYTES], name[JUDGE_WORD_MAX];
    FILE *f = fopen(path, "re");
    bool ok = f != NULL;
    while (ok && fgets(line, sizeof line, f) != NULL) {
        uint64_t step;
        int at = 0;
        ok = sscanf(line,
                    "{\"series\":\"%127[^\"]\",\"step\":%" SCNu64
                    ",\"time_ms\":%*[0-9],\"value\":%n",
                    name, &step, &at) == 2 &&
             at > 0;
        if (!ok || system_series(name)) continue;
        struct series *s = named(all, name);
        ok = s != NULL && add(s, step, strtod(line + at + (line[at] == '"'), NULL));
    }
    if (f != NULL) (void)fclose(f);
    return ok && all->n > 0;
}

static bool read_csv(const char *path, struct series *out)
{
    char line[LINE_MAX_BYTES];
    FILE *f = fopen(path, "re");
    bool ok = f != NULL && fgets(line, sizeof line, f) != NULL; /* the names of the columns */
    while (ok && fgets(line, sizeof line, f) != NULL) {
        uint64_t step;
        int at = 0;
        ok = sscanf(line, "%" SCNu64 ",%*[-0-9],%n", &step, &at) == 1 && at > 0 &&
             add(out, step, strtod(line + at, NULL));
    }
    if (f != NULL) (void)fclose(f);
    return ok;
}

static bool same(double a, double b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void tell(int *shown, const char *kind, const struct judged *x, const char *name,
                 uint64_t step)
{
    if ((*shown)++ < SHOWN_MAX)
        judge_fault("%s experiment %" PRId64 " %s step %" PRIu64, kind, x->id, name, step);
}

static bool has_step(const struct series *s, size_t n, uint64_t step)
{
    for (size_t i = 0; i < n; i++)
        if (s->points[i].step == step) return true;
    return false;
}

/* Walks both in the order of their steps. */
static void compare(const struct judged *x, const struct series *want, const struct series *got,
                    bool beginning)
{
    size_t i = 0, j = 0;
    int lost = 0, doubled = 0, other = 0;
    while (i < want->n || j < got->n) {
        if (i == want->n || (j < got->n && got->points[j].step < want->points[i].step)) {
            const bool again = has_step(want, i, got->points[j].step);
            tell(&doubled, again ? "doubled_point" : "foreign_point", x, want->name,
                 got->points[j++].step);
        } else if (j == got->n) {
            if (beginning) return;
            tell(&lost, "lost_point", x, want->name, want->points[i++].step);
        } else if (got->points[j].step > want->points[i].step) {
            tell(&lost, "lost_point", x, want->name, want->points[i++].step);
        } else {
            if (!same(want->points[i].value, got->points[j].value))
                tell(&other, "other_value", x, want->name, want->points[i].step);
            i++;
            j++;
        }
    }
}

/* The series N of series.txt against its twin; a point more than once or not in order is seen. */
static int64_t one_series(const char *dir, const struct judged *x, struct all_series *want, int n,
                          int64_t count, const char *name, bool *seen)
{
    char path[PATH_MAX];
    struct series got = { 0 };
    (void)snprintf(path, sizeof path, "%s/%d.csv", dir, n);
    if (!read_csv(path, &got)) return -1;
    const int64_t points = (int64_t)got.n;
    const size_t before = want->n;
    struct series *w = named(want, name);
    if (w == NULL) return -1;
    if (want->n > before) judge_fault("foreign_series experiment %" PRId64 " %s", x->id, name);
    else seen[w - want->items] = true;
    compare(x, w, &got, strcmp(x->state, "cancelled") == 0);
    if (count != points)
        judge_fault("other_count experiment %" PRId64 " %s: n is %" PRId64 ", there are %" PRId64,
                    x->id, name, count, points);
    mem_free(got.points);
    return points;
}

int64_t judge_points(const char *api_dir, const struct judged *x, const char *undisturbed)
{
    struct all_series want = { 0 };
    char path[PATH_MAX], dir[PATH_MAX - 32], line[LINE_MAX_BYTES];
    (void)snprintf(path, sizeof path, "%s/metrics.ndjson", undisturbed);
    (void)snprintf(dir, sizeof dir, "%s/%" PRId64, api_dir, x->id);
    bool ok = read_undisturbed(path, &want);
    const size_t wanted = want.n;
    bool *seen = mem_calloc(wanted + 1, sizeof seen[0]);
    (void)snprintf(path, sizeof path, "%s/series.txt", dir);
    FILE *f = fopen(path, "re");
    int64_t points = 0;
    while (ok && seen != NULL && f != NULL && fgets(line, sizeof line, f) != NULL) {
        int n;
        int64_t count, some = -1;
        char name[JUDGE_WORD_MAX];
        if (sscanf(line, "%d %" SCNd64 " %127s", &n, &count, name) == 3)
            some = system_series(name) ? 0 : one_series(dir, x, &want, n, count, name, seen);
        ok = some >= 0;
        points += some;
    }
    ok = ok && f != NULL && seen != NULL;
    for (size_t i = 0; ok && i < wanted; i++)
        if (!seen[i] && strcmp(x->state, "cancelled") != 0)
            judge_fault("lost_series experiment %" PRId64 " %s", x->id, want.items[i].name);
    if (f != NULL) (void)fclose(f);
    mem_free(seen);
    free_all(&want);
    return ok ? points : -1;
}
