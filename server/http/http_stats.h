/* http_stats: what was answered, by route and status: the pattern of a route, never a path, so the
 * number of rows is bounded. Loop thread. */
#ifndef SERVER_HTTP_STATS_H
#define SERVER_HTTP_STATS_H

#include "common/err.h"
#include "server/meter/histogram.h"

#include <stdint.h>

#define HTTP_STATUSES_MAX 16 /* of one route; what comes beyond is counted with the last, as 0 */

struct http;
struct request;
struct http_route_stats {
    struct {
        unsigned status; /* 0 = any other */
        uint64_t count;
    } statuses[HTTP_STATUSES_MAX];
    struct histogram seconds; /* from the request's headers to its answer */
};
struct http_stats {
    const struct http_route_stats *routes; /* [n_routes + 1]: in the order of the table; the last
                                            * one has what no route matched */
    size_t n_routes;
    size_t connections; /* that count towards the limits: neither streams nor workers */
};
/* Borrowed until the next turn of the loop. */
struct http_stats http_stats_of(struct http *h);

/* ---- for the files of server/http -------------------------------------------------------------
 * Errors: ERR_NOMEM. */
int http_stats_init(struct http *h, struct err *e);
void http_stats_count(struct request *r); /* its answer is on its way */

#endif
