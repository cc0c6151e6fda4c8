/* http_stats: see http_stats.h. */
#include "server/http/http_stats.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/http/http_internal.h"

int http_stats_init(struct http *h, struct err *e)
{
    h->stats = mem_calloc(h->o.n_routes + 1, sizeof h->stats[0]);
    if (h->stats == NULL) return err_set(e, ERR_NOMEM, "counters of routes");
    for (size_t i = 0; i <= h->o.n_routes; i++) {
        h->stats[i].seconds.bounds = histogram_short_bounds;
        h->stats[i].seconds.n_bounds = histogram_short_count;
    }
    return 0;
}

void http_stats_count(struct request *r)
{
    struct http *h = r->http;
    const size_t route = r->route != NULL ? (size_t)(r->route - h->o.routes) : h->o.n_routes;
    struct http_route_stats *s = &h->stats[route];
    size_t i = 0;
    while (i < HTTP_STATUSES_MAX - 1 && s->statuses[i].count > 0 &&
           s->statuses[i].status != r->status)
        i++;
    s->statuses[i].status = i < HTTP_STATUSES_MAX - 1 ? r->status : 0;
    s->statuses[i].count++;
    histogram_add(&s->seconds, (double)(clock_mono_ns() - r->began_ns) * 1e-9);
}

struct http_stats http_stats_of(struct http *h)
{
    return (struct http_stats){ h->stats, h->o.n_routes, h->requests_open };
}
