/* worker: /worker/v1, the messages of docs/worker-protocol.md. */
#include "server/api/api_internal.h"

#include <stdlib.h>
#include <string.h>

static int64_t header_int(const struct request *r, const char *name)
{
    const char *text = request_header(r, name);
    return text != NULL ? strtoll(text, NULL, 10) : 0;
}

static struct queue_credentials credentials(const struct request *r)
{
    static const char bearer[] = "Bearer ";
    const char *text = request_header(r, "Authorization");
    const bool given = text != NULL && strncmp(text, bearer, sizeof bearer - 1) == 0;
    return (struct queue_credentials){ .experiment = header_int(r, "X-Spiked-Experiment"),
                                       .attempt = header_int(r, "X-Spiked-Attempt"),
                                       .secret = given ? text + sizeof bearer - 1 : "" };
}

static void answered(void *ctx, const char *json, const struct err *e)
{
    struct request *r = ctx;
    if (json != NULL) respond_json_text(r, 200, json);
    else respond_problem(r, e, NULL);
}

void api_worker_spec(struct request *r)
{
    queue_worker_spec(api_of(r)->queue, credentials(r), answered, r);
    request_suspend(r);
}

typedef void (*worker_message)(struct queue *q, struct queue_credentials c, const cJSON *body,
                               queue_answer_fn done, void *ctx);

static void pass_on(struct request *r, worker_message message)
{
    cJSON *body = api_body(r);
    if (body == NULL) return;
    message(api_of(r)->queue, credentials(r), body, answered, r);
    request_suspend(r);
    cJSON_Delete(body);
}

void api_worker_hello(struct request *r) { pass_on(r, queue_worker_hello); }
void api_worker_renew(struct request *r) { pass_on(r, queue_worker_renew); }
void api_worker_finish(struct request *r) { pass_on(r, queue_worker_finish); }

void api_worker_frames(struct request *r)
{
    int64_t attempt, until;
    if (!request_query_int(r, "attempt", 0, 0, INT64_MAX, &attempt) ||
        !request_query_int(r, "until_step", 0, 0, INT64_MAX, &until))
        return;
    queue_worker_frames(api_of(r)->queue, credentials(r), attempt, (uint64_t)until, r->body,
                        r->length, answered, r);
    request_suspend(r);
}
