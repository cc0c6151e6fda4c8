/* list: GET /experiments: filters, order, pages. A cursor is the id of the last item shown, so that
 * a page neither repeats nor skips what was there all the time. */
#include "server/api/api_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LIMIT_MAX 200

struct listing {
    uint32_t states; /* bit 1 << state; 0 = all */
    const char *user, *tag, *text;
    bool ascending, deleted;
    int64_t after; /* 0 = from the beginning */
    int64_t limit, total;
    bool total_known;               /* without a walk: nothing but states is asked for */
    const struct experiment **page; /* [limit], of those behind the cursor */
    size_t n_page;
    bool more;
};

static bool has_tag(const struct experiment *x, const char *tag)
{
    for (size_t i = 0; i < x->n_tags; i++)
        if (strcmp(x->tags[i], tag) == 0) return true;
    return false;
}

static bool holds(const struct experiment *x, const char *text)
{
    return strcasestr(x->name, text) != NULL || strcasestr(x->dataset, text) != NULL ||
           strcasestr(x->user, text) != NULL;
}

static bool fits(const struct listing *l, const struct experiment *x)
{
    if (l->states != 0 && (l->states & (1U << x->state)) == 0) return false;
    if (l->user != NULL && strcmp(l->user, x->user) != 0) return false;
    if (l->tag != NULL && !has_tag(x, l->tag)) return false;
    return l->text == NULL || holds(x, l->text);
}

/* Newest first. A page in ascending order is the last `limit` seen with id > after, turned
 * round. A page of the newest ends the walk when the total is known: it costs its own length. */
static bool take(void *ctx, const struct experiment *x)
{
    struct listing *l = ctx;
    if (!fits(l, x)) return true;
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
    l->total_known = !l->deleted && l->user == NULL && l->tag == NULL && l->text == NULL;
    if (!l->total_known) return;
    const struct queue_stats stats = queue_stats_of(q);
    for (int i = 0; i < STATE_COUNT; i++)
        if (l->states == 0 || (l->states & (1U << i)) != 0) l->total += stats.states[i];
}

static bool read_states(struct request *r, uint32_t *out)
{
    const char *text = request_query(r, "state");
    *out = 0;
    while (text != NULL && *text != '\0') {
        char name[32];
        enum experiment_state state;
        const size_t n = strcspn(text, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)(n < 31 ? n : 31), text);
        if (state_from_name(name, &state) != 0) {
            api_problem(r, ERR_INVALID, "state: '%s' is not a state", name);
            return false;
        }
        *out |= 1U << state;
        text += n + (text[n] == ',');
    }
    return true;
}

static bool read_query(struct request *r, struct listing *l)
{
    if (!api_query_known(r, "state|user|tag|q|deleted|sort|limit|cursor")) return false;
    const char *sort = request_query(r, "sort");
    if (sort != NULL && strcmp(sort, "id") != 0 && strcmp(sort, "-id") != 0) {
        api_problem(r, ERR_INVALID, "sort must be id or -id, got '%.40s'", sort);
        return false;
    }
    l->ascending = sort != NULL && sort[0] == 'i';
    l->user = request_query(r, "user");
    l->tag = request_query(r, "tag");
    l->text = request_query(r, "q");
    return read_states(r, &l->states) && api_query_bool(r, "deleted", &l->deleted) &&
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
