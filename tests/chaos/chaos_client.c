/* chaos_client: see chaos_client.h. */
#include "tests/chaos/chaos_client.h"

#include "common/mem.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EPOCHS 12 /* a second and a half on an idle core */
#define SWEEP_MEMBERS 2
#define RETRY "\"retry\": {\"max_attempts\": 100}"

uint32_t random_next(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

/* ---- specs ----------------------------------------------------------------------------------- */
const char *const client_spec_names[CLIENT_SPECS] = { "small", "other-seed", "scoped" };

/* Time constants of every channel, thresholds and slopes of every neuron, masked PSN on its way to
 * its mask, averaged weights, augmentation, accumulated batches. */
static const char scoped[] =
    "{\"version\": 1, \"time_steps\": 4, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": "
    "640, \"test_limit\": 100, \"transforms\": [{\"type\": \"random_crop\", \"padding\": 2}]},"
    "\"network\": {\"neuron\": {\"v_threshold\": 0.5}, \"layers\": ["
    "{\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": 3, \"stride\": 2, \"bias\": "
    "false}, {\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"plif\", \"scope\": "
    "\"channel\", \"learn_threshold\": true}, {\"type\": \"max_pool2d\", \"kernel_size\": 2},"
    "{\"type\": \"flatten\"}, {\"type\": \"linear\", \"out_features\": 40}, {\"type\": \"neuron\","
    " \"model\": \"klif\", \"scope\": \"neuron\", \"learn_threshold\": true}, {\"type\": "
    "\"linear\", \"out_features\": 32}, {\"type\": \"neuron\", \"model\": \"masked_psn\", "
    "\"lambda_rate\": 1.5}, {\"type\": \"linear\", \"out_features\": 10}]},"
    "\"train\": {\"epochs\": 12, \"batch_size\": 16, \"accumulate\": 2, \"loss\": {\"type\": "
    "\"cross_entropy\"}, \"ema\": {\"decay\": 0.9}}, \"checkpoint\": {\"every_steps\": 10},"
    "\"resources\": {\"threads\": 2}, " RETRY "}";

char *client_spec(size_t number, const char *name)
{
    char *text = number == 0   ? small_spec(EPOCHS, RETRY)
                 : number == 1 ? small_spec(EPOCHS, RETRY ", \"seed\": 7")
                               : mem_strdup(scoped);
    cJSON *spec = NULL;
    struct err e = { 0 };
    cr_assert(json_parse(text, strlen(text), &spec, &e) == 0, "%s", e.text);
    mem_free(text);
    cJSON_DeleteItemFromObjectCaseSensitive(spec, "name");
    cr_assert(cJSON_AddStringToObject(spec, "name", name) != NULL);
    text = json_print(spec, NULL);
    cJSON_Delete(spec);
    return text;
}

/* ---- the log --------------------------------------------------------------------------------- */
void client_open(struct chaos_client *c, const struct service *s, const char *log_path, int season,
                 uint32_t *random)
{
    *c = (struct chaos_client){ .s = s, .random = random, .season = season };
    c->log = fopen(log_path, "we");
    cr_assert(c->log != NULL);
}

void client_close(struct chaos_client *c)
{
    cr_assert(fclose(c->log) == 0);
    c->log = NULL;
}

/* ---- submitting ------------------------------------------------------------------------------ */
/* Sends a whole request and goes away without hearing the answer. */
static void post_and_leave(struct chaos_client *c, const char *key, const char *body)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)c->s->port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *text = mem_printf("POST /api/v1/experiments HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                            "Idempotency-Key: %s\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            c->s->port, key, strlen(body), body);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 &&
        send(fd, text, strlen(text), MSG_NOSIGNAL) > 0)
        c->answers_lost++;
    sleep_ms((int)random_next(c->random, 30));
    if (fd >= 0) (void)close(fd);
    mem_free(text);
}

/* Two members that come to the same values: the later one is stopped at the first rung, unless it
 * has ended before. They are what the spec "small" is, but for labels. */
static char *sweep_body(const char *name)
{
    char *base = client_spec(0, name);
    char *body = mem_printf("{\"name\": \"%s\", \"base\": %s, \"space\": {\"/priority\": "
                            "{\"values\": [100]}}, \"strategy\": {\"type\": \"asha\", \"n\": %d,"
                            " \"metric\": \"train/loss\", \"eta\": 2, \"min\": 1, \"max\": %d}}",
                            name, base, SWEEP_MEMBERS, EPOCHS);
    mem_free(base);
    return body;
}

/* A member was made with the sweep, and may be asked to stop at any time. false: no answer. */
static bool log_member(struct chaos_client *c, const char *key, int member, int64_t id)
{
    cJSON *x = experiment(c->s, id);
    const char *uid = json_get_string(x, "uid", NULL);
    if (uid != NULL)
        (void)fprintf(c->log, "acked %s-%d %" PRId64 " %s\nasked %" PRId64 "\n", key, member, id,
                      uid, id);
    (void)fflush(c->log);
    cJSON_Delete(x);
    return uid != NULL;
}

static bool post_sweep(struct chaos_client *c, struct client_sent *x)
{
    char header[80];
    const char *const headers[] = { header, NULL };
    char *body = sweep_body(x->key);
    (void)snprintf(header, sizeof header, "Idempotency-Key: %s", x->key);
    struct answer a = http_call(c->s, "POST", "/api/v1/sweeps", body, headers);
    cr_assert(a.status == 201 || a.status == 0 || a.status >= 500, "sweep: %ld %s", a.status,
              a.body);
    const int64_t first = json_get_int(a.json, "first", 0);
    bool all = a.status == 201;
    for (int i = 0; all && i < SWEEP_MEMBERS; i++) all = log_member(c, x->key, i + 1, first + i);
    if (all) x->id = first;
    answer_free(&a);
    mem_free(body);
    return all;
}

void client_sweep(struct chaos_client *c)
{
    cr_assert(c->n_sent < CLIENT_SENT_MAX);
    struct client_sent *x = &c->sent[c->n_sent];
    *x = (struct client_sent){ .sweep = true };
    (void)snprintf(x->key, sizeof x->key, "chaos-%d-%zu", c->season, c->n_sent++);
    for (int i = 1; i <= SWEEP_MEMBERS; i++)
        (void)fprintf(c->log, "sent %s-%d %s\n", x->key, i, client_spec_names[0]);
    (void)fflush(c->log);
    (void)post_sweep(c, x);
}

static bool post(struct chaos_client *c, struct client_sent *x)
{
    if (x->sweep) return post_sweep(c, x);
    char header[80];
    const char *const headers[] = { header, NULL };
    char *spec = client_spec(x->spec, x->key);
    (void)snprintf(header, sizeof header, "Idempotency-Key: %s", x->key);
    struct answer a = http_call(c->s, "POST", "/api/v1/experiments", spec, headers);
    cr_assert(a.status == 201 || a.status == 0 || a.status >= 500, "submit: %ld %s", a.status,
              a.body);
    if (a.status == 201) {
        x->id = json_get_int(a.json, "id", 0);
        (void)fprintf(c->log, "acked %s %" PRId64 " %s\n", x->key, x->id,
                      json_get_string(a.json, "uid", "?"));
        (void)fflush(c->log);
    }
    answer_free(&a);
    mem_free(spec);
    return x->id != 0;
}

void client_submit(struct chaos_client *c)
{
    cr_assert(c->n_sent < CLIENT_SENT_MAX);
    struct client_sent *x = &c->sent[c->n_sent];
    *x = (struct client_sent){ .spec = random_next(c->random, CLIENT_SPECS) };
    (void)snprintf(x->key, sizeof x->key, "chaos-%d-%zu", c->season, c->n_sent++);
    (void)fprintf(c->log, "sent %s %s\n", x->key, client_spec_names[x->spec]);
    (void)fflush(c->log);
    if (random_next(c->random, 4) == 0) {
        char *spec = client_spec(x->spec, x->key);
        post_and_leave(c, x->key, spec);
        mem_free(spec);
    }
    (void)post(c, x);
}

bool client_settle(struct chaos_client *c)
{
    for (size_t i = 0; i < c->n_sent; i++)
        if (c->sent[i].id == 0 && !post(c, &c->sent[i])) return false;
    return true;
}

/* ---- looking and acting ---------------------------------------------------------------------- */
static void look_at(struct client_view *v, const cJSON *x)
{
    const char *state = json_get_string(x, "state", "");
    const int64_t id = json_get_int(x, "id", 0);
    if (strcmp(state, "succeeded") == 0 || strcmp(state, "cancelled") == 0) v->final++;
    else v->live++;
    if (strcmp(state, "running") == 0) v->running = id;
    if (strcmp(state, "paused") == 0) v->paused = id;
    if (strcmp(state, "failed") == 0) v->failed = id;
}

struct client_view client_look(const struct chaos_client *c)
{
    struct client_view v = { 0 };
    struct answer a = http_get(c->s, "/api/v1/experiments?limit=100");
    const cJSON *x;
    v.answered = a.status == 200;
    cJSON_ArrayForEach(x, json_get(a.json, "items")) look_at(&v, x);
    answer_free(&a);
    return v;
}

static void say_cancel(struct chaos_client *c, const char *what, int64_t id)
{
    (void)fprintf(c->log, "%s %" PRId64 "\n", what, id);
    (void)fflush(c->log);
}

long client_act(struct chaos_client *c, int64_t id, const char *action)
{
    char path[80];
    const bool cancel = strcmp(action, "cancel") == 0;
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64 "/%s", id, action);
    if (cancel) say_cancel(c, "asked", id);
    struct answer a = http_post(c->s, path, "{}");
    const long status = a.status;
    if (cancel && status == 202 && strcmp(json_get_string(a.json, "state", ""), "cancelled") == 0)
        say_cancel(c, "cancelled", id);
    /* 409: it went on meanwhile, or an answer that was lost had done it. */
    cr_assert(status == 0 || status == 202 || status == 200 || status == 409 || status >= 500,
              "%s: %ld %s", path, status, a.body);
    answer_free(&a);
    return status;
}

void client_feed(struct chaos_client *c, size_t live)
{
    if (!client_settle(c)) return;
    const struct client_view v = client_look(c);
    if (v.paused != 0) (void)client_act(c, v.paused, "resume");
    if (v.failed != 0) (void)client_act(c, v.failed, "retry");
    if (v.answered && v.live < live) client_submit(c);
}

void client_meddle(struct chaos_client *c)
{
    const struct client_view v = client_look(c);
    if (v.running == 0) return;
    (void)client_act(c, v.running, random_next(c->random, 12) == 0 ? "cancel" : "pause");
}
