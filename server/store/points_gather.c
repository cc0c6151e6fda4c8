/* points_gather: see points_gather.h. */
#include "server/store/points_gather.h"

#include "common/mem.h"

#include <stdio.h>
#include <string.h>

static struct gathered *find(struct points_gather *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++) {
        const size_t at = (g->next + i) % g->n;
        if (strcmp(g->series[at].name, name) != 0) continue;
        g->next = at + 1;
        return &g->series[at];
    }
    return NULL;
}

static struct gathered *add(struct points_gather *g, const char *name, struct err *e)
{
    if (g->n == GATHER_SERIES_MAX) {
        (void)err_set(e, ERR_TOO_LARGE, "more than %d series in a message", GATHER_SERIES_MAX);
        return NULL;
    }
    if (g->n == g->capacity) {
        const size_t capacity = 2 * g->capacity + 16;
        struct gathered *grown = mem_realloc_array(g->series, capacity, sizeof grown[0]);
        if (grown == NULL) {
            (void)err_set(e, ERR_NOMEM, "series of a message");
            return NULL;
        }
        g->series = grown;
        g->capacity = capacity;
    }
    struct gathered *s = &g->series[g->n++];
    *s = (struct gathered){ 0 };
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

int gather_points(struct points_gather *g, const char *name, const struct point *points, size_t n,
                  struct err *e)
{
    struct gathered *s = find(g, name);
    if (s == NULL && (s = add(g, name, e)) == NULL) return (int)e->code;
    if (s->n + n > s->capacity) {
        const size_t capacity = 2 * (s->n + n);
        struct point *grown = mem_realloc_array(s->points, capacity, sizeof grown[0]);
        if (grown == NULL) return err_set(e, ERR_NOMEM, "points of a message");
        s->points = grown;
        s->capacity = capacity;
    }
    memcpy(s->points + s->n, points, n * sizeof points[0]);
    s->n += n;
    return 0;
}

int gather_all(struct points_gather *g, const struct points_gather *from, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < from->n; i++)
        rc = gather_points(g, from->series[i].name, from->series[i].points, from->series[i].n, e);
    return rc;
}

size_t gather_points_count(const struct points_gather *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) n += g->series[i].n;
    return n;
}

void gather_deinit(struct points_gather *g)
{
    for (size_t i = 0; i < g->n; i++) mem_free(g->series[i].points);
    mem_free(g->series);
    *g = (struct points_gather){ 0 };
}
