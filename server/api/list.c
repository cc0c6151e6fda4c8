/* list: GET /experiments: filters, order, pages. A cursor is the id of the last item shown, so that
 * a page neither repeats nor skips what was there all the time. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_MAX 200

struct listing {
    struct experiment_filter filter;
    bool ascending, deleted;
    int64_t after; /* 0 = from the beginning */
    int64_t limit, total;
    bool total_known;               /* without a walk: nothing but states is asked for */
    const struct experiment **page; /* [limit], of those behind the cursor */
    size_t n_page;
    bool more;
};

/* Newest first. A page in ascending order is the last `limit` seen with id > after, turned
 * round. A page of the newest ends the walk when the total is known: it costs its own length. */
static bool take(void *ctx, const struct experiment *x)
{
    struct listing *l = ctx;
    if (!filter_fits(&l->filter, x)) return true;
    if (!l->total_known) l->total++;
    if (l->after != 0 && (l->ascending ? x->id <= l->after : x->id >= l->after)) return true;
    if (l->n_page < (size_t)l->limit) {
        l->page[l->n_page++] = x;
    } else {
        l->more = true;
        if (!l->ascending) return !l->total_known;
        memmove(l->page, l->page + 1, (l->n_page - 1) * sizeof l->page[0]);
        l->page[l->n_page - 1] = x;
    }
    return true;
}

static void know_total(struct queue *q, struct listing *l)
{
    l->total_known = !l->deleted && filter_of_states(&l->filter);
    if (!l->total_known) return;
    const struct queue_stats stats = queue_stats_of(q);
    for (int i = 0; i < STATE_COUNT; i++)
        if (l->filter.states == 0 || (l->filter.states & (1U << i)) != 0)
            l->total += stats.states[i];
}

static bool read_query(struct request *r, struct listing *l)
{
    if (!api_query_known(r, "state|user|tag|q|sweep|deleted|sort|limit|cursor")) return false;
    const char *sort = request_query(r, "sort");
    if (sort != NULL && strcmp(sort, "id") != 0 && strcmp(sort, "-id") != 0) {
        api_problem(r, ERR_INVALID, "sort must be id or -id, got '%.40s'", sort);
        return false;
    }
    l->ascending = sort != NULL && sort[0] == 'i';
    return filter_read_query(r, &l->filter) && api_query_bool(r, "deleted", &l->deleted) &&
           request_query_int(r, "limit", 50, 1, LIMIT_MAX, &l->limit) &&
           request_query_int(r, "cursor", 0, 1, INT64_MAX, &l->after);
}

static cJSON *page_object(const struct queue *q, const struct listing *l)
{
    cJSON *o = cJSON_CreateObject(), *items = o != NULL ? cJSON_AddArrayToObject(o, "items") : NULL;
    bool ok = items != NULL;
    int64_t last = 0;
    for (size_t i = 0; ok && i < l->n_page; i++) {
        const struct experiment *x = l->page[l->ascending ? l->n_page - 1 - i : i];
        ok = cJSON_AddItemToArray(items, experiment_object(q, x));
        last = x->id;
    }
    char cursor[24];
    (void)snprintf(cursor, sizeof cursor, "%lld", (long long)last);
    ok = ok && (l->more ? cJSON_AddStringToObject(o, "next_cursor", cursor) != NULL
                        : cJSON_AddNullToObject(o, "next_cursor") != NULL) &&
         json_add_int(o, "total", l->total);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

void api_list(struct request *r)
{
    struct api *a = api_of(r);
    const struct experiment *page[LIMIT_MAX];
    struct listing l = { .page = page };
    if (!read_query(r, &l)) return;
    char event_id[SSE_ID_MAX];
    sse_hub_last_id(a->hub, event_id);
    know_total(a->queue, &l);
    if (l.deleted) queue_each_deleted(a->queue, take, &l);
    else queue_each_below(a->queue, l.total_known && !l.ascending ? l.after : 0, take, &l);
    cJSON *o = page_object(a->queue, &l);
    respond_json(r, 200, o);
    cJSON_Delete(o);
    respond_header(r, "X-Event-Id", event_id);
}
