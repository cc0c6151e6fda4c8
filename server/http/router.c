/* router: one table of method, pattern, role and handler. See http.h. */
#include "server/http/http_internal.h"

#include "common/mem.h"

#include <stdio.h>
#include <string.h>

static void drop_params(struct request *r)
{
    for (size_t i = 0; i < HTTP_PARAMS_MAX; i++) {
        mem_free(r->params[i]);
        r->params[i] = NULL;
    }
}

static bool keep(struct request *r, size_t *n, const char *text, size_t length)
{
    if (length == 0 || *n >= HTTP_PARAMS_MAX) return false;
    r->params[*n] = mem_strndup(text, length);
    return r->params[(*n)++] != NULL;
}

/* {} takes one segment, {...} everything that is left. */
static bool matches(struct request *r, const char *pattern, const char *url)
{
    size_t n = 0;
    while (*pattern != '\0') {
        if (strncmp(pattern, "{...}", 5) == 0) return keep(r, &n, url, strlen(url));
        if (strncmp(pattern, "{}", 2) == 0) {
            const size_t length = strcspn(url, "/");
            if (!keep(r, &n, url, length)) return false;
            url += length;
            pattern += 2;
        } else if (*pattern++ != *url++) {
            return false;
        }
    }
    return *url == '\0';
}

int router_match(struct request *r, const char *url, char *allow, size_t allow_size, struct err *e)
{
    bool known = false;
    for (size_t i = 0; i < r->http->o.n_routes; i++) {
        const struct http_route *route = &r->http->o.routes[i];
        if (!matches(r, route->pattern, url)) {
            drop_params(r);
            continue;
        }
        const bool head = strcmp(r->method, "HEAD") == 0 && strcmp(route->method, "GET") == 0;
        if (head || strcmp(r->method, route->method) == 0) {
            r->route = route;
            return 0;
        }
        known = true;
        const size_t at = strlen(allow);
        (void)snprintf(allow + at, allow_size - at, "%s%s", at > 0 ? ", " : "", route->method);
        drop_params(r);
    }
    if (known) return err_set(e, ERR_METHOD, "%s is not possible here, %s is", r->method, allow);
    return err_set(e, ERR_NOT_FOUND, "there is nothing at %.150s", url);
}
