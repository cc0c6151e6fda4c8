/* page: the built dashboard, and what people see who may not use it. */
#include "server/api/api_internal.h"

#include "server/http/web_files.h"

#include <stdio.h>
#include <string.h>

static const struct web_file *find_file(const char *path)
{
    for (size_t i = 0; i < web_files_count; i++)
        if (strcmp(web_files[i].path, path) == 0) return &web_files[i];
    return NULL;
}

static void send_file(struct request *r, const char *path)
{
    const struct web_file *f = find_file(path);
    if (f == NULL) api_problem(r, ERR_NOT_FOUND, "there is nothing at %.100s", path);
    else respond_static(r, f->content_type, f->data, f->length, f->etag);
}

void api_page(struct request *r) { send_file(r, "/index.html"); }
void api_page_file(struct request *r) { send_file(r, r->path); }

/* login.html with @HOST@ and @PORT@ replaced; both come from our own configuration. */
static void send_help(struct request *r, const struct web_file *f, unsigned status)
{
    const struct api *a = api_of(r);
    char out[16384], port[16];
    size_t n = 0;
    (void)snprintf(port, sizeof port, "%d", a->port);
    for (size_t i = 0; i < f->length && n + sizeof a->host < sizeof out;) {
        const char *at = (const char *)f->data + i;
        const size_t left = f->length - i;
        const char *word = left >= 6 && memcmp(at, "@HOST@", 6) == 0   ? a->host
                           : left >= 6 && memcmp(at, "@PORT@", 6) == 0 ? port
                                                                       : NULL;
        if (word != NULL) {
            n += (size_t)snprintf(out + n, sizeof out - n, "%s", word);
            i += 6;
        } else {
            out[n++] = *at;
            i++;
        }
    }
    respond_text(r, status, "text/html; charset=utf-8", out, n);
}

static bool wants_page(const struct request *r)
{
    const char *accept = request_header(r, "Accept");
    return strcmp(r->method, "GET") == 0 && accept != NULL && strstr(accept, "text/html") != NULL;
}

void api_refused(struct request *r, const struct err *e)
{
    const struct web_file *f = find_file("/login.html");
    const bool stranger = e->code == ERR_UNAUTHORIZED || e->code == ERR_MISDIRECTED;
    if (stranger && f != NULL && wants_page(r)) send_help(r, f, (unsigned)err_http_status(e->code));
    else respond_problem(r, e, NULL);
    if (r->stale_session && r->response != NULL)
        respond_header(r, "Set-Cookie", SESSION_COOKIE_GONE);
}
