/* points_export: see points_export.h. */
#include "server/store/points_export.h"

#include "common/mem.h"
#include "server/store/points_walk.h"
#include "server/store/stmt.h"
#include "server/store/store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

struct points_export {
    sqlite3 *db;
    int64_t experiment;
    uint64_t from, to;
    enum points_format format;
    bool all, walking, head_written, over;
    char name[SERIES_NAME_MAX + 1]; /* of the series that is walked, or was the last */
    struct points_walk walk;
};

static void begin_series(struct points_export *x, int64_t series)
{
    points_walk_begin(&x->walk, series, x->from, x->to);
    x->walking = true;
}

static int open_first(struct points_export *x, const struct points_export_of *of, struct err *e)
{
    int64_t series = 0;
    int rc = store_reader(of->path, &x->db, e);
    if (rc != 0 || x->all) return rc;
    (void)snprintf(x->name, sizeof x->name, "%s", of->name);
    rc = points_series(x->db, x->experiment, of->name, &series, e);
    if (rc == 0) begin_series(x, series);
    return rc;
}

int points_export_open(struct points_export **out, const struct points_export_of *of, struct err *e)
{
    struct points_export *x = mem_calloc(1, sizeof *x);
    if (x == NULL) return err_set(e, ERR_NOMEM, "export");
    x->experiment = of->experiment;
    x->from = of->from;
    x->to = of->to;
    x->format = of->format;
    x->all = of->name == NULL || of->name[0] == '\0';
    const int rc = open_first(x, of, e);
    if (rc == 0) *out = x;
    else points_export_close(x);
    return rc;
}

void points_export_close(struct points_export *x)
{
    if (x == NULL) return;
    (void)sqlite3_close(x->db);
    mem_free(x);
}

/* 1 = it is walked, 0 = there is none, -1 = error. */
static int next_series(struct points_export *x, struct err *e)
{
    struct stmt s;
    if (!x->all) return 0;
    if (stmt_prepare(&s, x->db,
                     "SELECT id,name FROM series WHERE experiment=?1 AND name>?2 ORDER BY name"
                     " LIMIT 1",
                     e) != 0)
        return -1;
    stmt_bind(&s, "it", x->experiment, x->name);
    const int got = stmt_step(&s, e);
    if (got == 1) {
        begin_series(x, stmt_int(&s, 0));
        (void)snprintf(x->name, sizeof x->name, "%s", stmt_text(&s, 1));
    }
    stmt_finish(&s);
    return got;
}

/* ---- text ------------------------------------------------------------------------------------ */
static size_t csv_line(const struct points_export *x, const struct point *p, char *out)
{
    return (size_t)snprintf(out, POINTS_LINE_MAX, "%s%s%" PRIu64 ",%" PRId64 ",%.17g\n",
                            x->all ? x->name : "", x->all ? "," : "", p->step, p->time_ms,
                            p->value);
}

static size_t json_line(const struct points_export *x, const struct point *p, char *out)
{
    char value[40];
    if (isfinite(p->value)) (void)snprintf(value, sizeof value, "%.17g", p->value);
    else
        (void)snprintf(value, sizeof value, "\"%s\"",
                       isnan(p->value) ? "NaN"
                       : p->value > 0  ? "Infinity"
                                       : "-Infinity");
    return (size_t)snprintf(out, POINTS_LINE_MAX,
                            "{\"series\":\"%s\",\"step\":%" PRIu64 ",\"time_ms\":%" PRId64
                            ",\"value\":%s}\n",
                            x->name, p->step, p->time_ms, value);
}

static size_t head(struct points_export *x, char *out)
{
    if (x->head_written || x->format != POINTS_CSV) return 0;
    x->head_written = true;
    return (size_t)snprintf(out, POINTS_LINE_MAX, "%sstep,time_ms,value\n",
                            x->all ? "series," : "");
}

int points_export_read(struct points_export *x, unsigned char *out, size_t room, size_t *got,
                       struct err *e)
{
    struct point p;
    *got = head(x, (char *)out);
    while (!x->over && room - *got >= POINTS_LINE_MAX) {
        int found = x->walking ? points_walk_next(&x->walk, x->db, &p, e) : 0;
        if (found == 1) {
            char *to = (char *)out + *got;
            *got += x->format == POINTS_CSV ? csv_line(x, &p, to) : json_line(x, &p, to);
            continue;
        }
        if (found == 0) found = next_series(x, e);
        if (found < 0) return (int)e->code;
        x->over = found == 0;
    }
    return 0;
}
