/* repeat: a request with an Idempotency-Key that was answered before is answered so again, before
 * anything of it is judged anew. See api_internal.h. */
#include "server/api/api_internal.h"

#include <string.h>

struct repeat {
    struct api_call *call;
    void (*go_on)(struct request *r);
};

static void looked_up(void *ctx, const struct experiment *x, const struct err *e)
{
    struct repeat p = *(struct repeat *)ctx;
    struct request *r = p.call->r;
    mem_free(ctx);
    if (x == NULL && e->code == ERR_OK) { /* the first of its kind */
        api_call_drop(p.call);
        p.go_on(r);
        return;
    }
    if (x != NULL) api_answer_created(r, x);
    else respond_problem(r, e, NULL);
    api_call_end(p.call);
}

/* Submissions count by their body alone, other requests by their path as well. */
struct queue_key api_key(const struct request *r)
{
    return (struct queue_key){ .user = r->who.user,
                               .key = request_header(r, "Idempotency-Key"),
                               .path = r->route->handler != api_submit ? r->path : NULL,
                               .body = (const char *)r->body,
                               .body_length = r->length };
}

void api_once(struct request *r, void (*go_on)(struct request *r))
{
    const struct queue_key key = api_key(r);
    if (key.key == NULL) {
        go_on(r);
        return;
    }
    struct api_call *c = api_call_new(r, 0);
    struct repeat *p = c != NULL ? mem_alloc(sizeof *p) : NULL;
    if (p == NULL) {
        if (c != NULL) api_call_drop(c);
        if (r->response == NULL) api_problem(r, ERR_NOMEM, "request");
        return;
    }
    *p = (struct repeat){ c, go_on };
    queue_repeated(api_of(r)->queue, &key, looked_up, p);
    request_suspend(r);
}
