/* load_submit: many experiments, each acknowledged once. See load.h. */
#include "tests/load/load.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 256

struct submitter {
    const char *name, *key;
    int64_t n, next;
    int64_t at[CLIENTS_MAX]; /* what each connection asks for */
    int64_t *ids;            /* [n]; 0 = not acknowledged */
    int odd_status;          /* of the first answer that was no 201; 0 = none */
    char odd_body[200];
};

static void write_spec(char *out, size_t room, const char *name)
{
    (void)snprintf(out, room,
                   "{\"version\": 1, \"name\": \"%s\", \"dataset\": {\"name\": \"glyphs\"},"
                   " \"network\": {\"layers\": [{\"type\": \"flatten\"}, {\"type\": \"linear\","
                   " \"out_features\": 10}, {\"type\": \"neuron\", \"model\": \"lif\"}]},"
                   " \"resources\": {\"threads\": 1}, \"retry\": {\"max_attempts\": 20}}",
                   name);
}

static size_t next_submission(void *ctx, size_t connection, char *out, size_t room)
{
    struct submitter *s = ctx;
    char spec[600], key[120];
    if (s->next >= s->n) return 0;
    s->at[connection] = s->next++;
    write_spec(spec, sizeof spec, s->name);
    (void)snprintf(key, sizeof key, "Idempotency-Key: %s-%" PRId64 "\r\n", s->key,
                   s->at[connection]);
    return swarm_request(out, room, "POST", "/api/v1/experiments", key, spec);
}

static void submitted(void *ctx, size_t connection, int status, const char *body, size_t length)
{
    struct submitter *s = ctx;
    (void)length;
    const char *id = strstr(body, "\"id\":");
    if (status == 201 && id != NULL) {
        s->ids[s->at[connection]] = strtoll(id + 5, NULL, 10);
    } else if (s->odd_status == 0) {
        s->odd_status = status;
        (void)snprintf(s->odd_body, sizeof s->odd_body, "%s", body);
    }
}

static int by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A second sending of some of them gives the same numbers: nothing was stored that is not known. */
static void repeat_some(struct load *l, const struct submitter *from)
{
    const int64_t n = from->n < 200 ? from->n : 200;
    struct submitter again = { .name = from->name, .key = from->key, .n = n };
    again.ids = mem_calloc((size_t)n, sizeof again.ids[0]);
    struct swarm w = { .unix_path = l->socket,
                       .connections = 1,
                       .next = next_submission,
                       .answered = submitted,
                       .ctx = &again };
    swarm_run(&w);
    for (int64_t i = 0; i < n; i++)
        cr_assert(again.ids[i] == from->ids[i],
                  "key %s-%" PRId64 ": %" PRId64 ", then %" PRId64 " (%d %s)", from->key, i,
                  from->ids[i], again.ids[i], again.odd_status, again.odd_body);
    mem_free(again.ids);
    swarm_deinit(&w);
}

struct load_burst load_submit_many(struct load *l, const char *name, int64_t n, size_t clients,
                                   const char *key)
{
    struct submitter s = { .name = name, .key = key, .n = n };
    cr_assert(clients <= CLIENTS_MAX);
    s.ids = mem_calloc((size_t)n, sizeof s.ids[0]);
    struct swarm w = { .unix_path = l->socket,
                       .connections = clients,
                       .next = next_submission,
                       .answered = submitted,
                       .ctx = &s };
    swarm_run(&w);
    cr_assert(w.broken == 0 && s.odd_status == 0, "%" PRId64 " broken, %d %s", w.broken,
              s.odd_status, s.odd_body);
    repeat_some(l, &s);
    qsort(s.ids, (size_t)n, sizeof s.ids[0], by_number);
    for (int64_t i = 0; i < n; i++)
        cr_assert(s.ids[i] > 0 && (i == 0 || s.ids[i] != s.ids[i - 1]),
                  "submission lost or doubled: id %" PRId64, s.ids[i]);
    const struct load_burst b = {
        .ms = w.ms, .per_s = (double)n / w.took_s, .first_id = s.ids[0], .last_id = s.ids[n - 1]
    };
    mem_free(s.ids);
    return b;
}

int64_t load_submit(struct load *l, const char *name)
{
    char spec[600];
    write_spec(spec, sizeof spec, name);
    return submit(&l->s, spec);
}

void load_queue(struct load *l, const char *what)
{
    char path[60];
    (void)snprintf(path, sizeof path, "/api/v1/queue/%s", what);
    struct answer a = http_post(&l->s, path, "{}");
    cr_assert(a.status == 200, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}

void load_cancel(struct load *l, int64_t id)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%" PRId64 "/cancel", id);
    struct answer a = http_post(&l->s, path, "{\"grace_s\": 2}");
    cr_assert(a.status == 202, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}
