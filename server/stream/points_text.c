/* points_text: see points_text.h. Written once and straight from the points: a tree of JSON for
 * each number is what kept the loop busy. */
#include "server/stream/points_text.h"

#include "common/json.h"
#include "common/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POINT_MAX (3 * JSON_NUMBER_MAX) /* step, time, value and what stands between */
#define HEAD_MAX 80
#define SERIES_MAX (SERIES_NAME_MAX + 8)

static size_t most(const struct points_gather *g)
{
    size_t n = HEAD_MAX;
    for (size_t i = 0; i < g->n; i++) n += SERIES_MAX + g->series[i].n * POINT_MAX;
    return n;
}

static char *put_point(char *to, const struct point *p)
{
    to += snprintf(to, POINT_MAX, "[%" PRIu64 ",%" PRId64 ",", p->step, p->time_ms);
    to += json_number_text(p->value, to);
    *to++ = ']';
    return to;
}

char *points_text(int64_t experiment, const struct points_gather *g)
{
    char *text = mem_alloc(most(g));
    if (text == NULL) return NULL;
    char *to = text + snprintf(text, HEAD_MAX, "{\"id\":%" PRId64 ",\"series\":{", experiment);
    for (size_t i = 0; i < g->n; i++) {
        const struct gathered *s = &g->series[i];
        to += snprintf(to, SERIES_MAX, "%s\"%s\":[", i > 0 ? "," : "", s->name);
        for (size_t k = 0; k < s->n; k++) {
            if (k > 0) *to++ = ',';
            to = put_point(to, &s->points[k]);
        }
        *to++ = ']';
    }
    memcpy(to, "}}", 3);
    return text;
}
