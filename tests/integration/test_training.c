/* The main story: submit, watch, read what came of it. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE "/api/v1/experiments/1"

static bool has_item(const cJSON *json, const char *name, const char *value)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(json, "items"))
        if (strcmp(json_get_string(item, name, ""), value) == 0) return true;
    return false;
}

static void check_metrics(const struct service *s)
{
    struct answer a = http_get(s, ONE "/metrics");
    static const char *const names[] = { "train/loss",    "train/accuracy", "val/accuracy",
                                         "test/accuracy", "2/firing_rate",  "7/firing_rate",
                                         "2/tau" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        cr_assert(has_item(a.json, "name", names[i]), "%s is missing: %s", names[i], a.body);
    answer_free(&a);
    a = http_get(s, ONE "/metrics/train/loss?from=5&to=9");
    const cJSON *points = json_get(a.json, "points");
    cr_assert(cJSON_GetArraySize(points) == 5, "%s", a.body);
    cr_assert(cJSON_GetArrayItem(cJSON_GetArrayItem(points, 0), 0)->valuedouble == 5);
    answer_free(&a);
    a = http_get(s, ONE "/metrics/train/loss?max_points=4");
    cr_assert(cJSON_GetArraySize(json_get(a.json, "buckets")) == 4, "%s", a.body);
    answer_free(&a);
    a = http_get(s, ONE "/metrics/no/such");
    cr_assert(a.status == 404);
    answer_free(&a);
}

static void check_text(const struct service *s, const char *path, const char *accept,
                       const char *head, const char *type)
{
    const char *const headers[] = { accept, NULL };
    struct answer a = http_call(s, "GET", path, NULL, headers);
    cr_assert(a.status == 200 && strncmp(a.body, head, strlen(head)) == 0, "%s: %ld %.100s", path,
              a.status, a.body);
    cr_assert(strstr(a.head, type) != NULL, "%s", a.head);
    answer_free(&a);
}

static void check_status(const struct service *s, const char *path, long status)
{
    struct answer a = http_get(s, path);
    cr_assert_eq(a.status, status, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}

static void check_exports(const struct service *s)
{
    static const char csv[] = "text/csv", lines[] = "application/x-ndjson", any[] = "Accept: */*";
    static const char one[] = "step,time_ms,value\n1,", all[] = "series,step,time_ms,value\n";
    static const char json[] = "{\"series\":\"train/loss\",\"step\":1,\"time_ms\":";
    check_text(s, ONE "/metrics/train/loss?format=csv", any, one, csv);
    check_text(s, ONE "/metrics/train/loss", "Accept: text/csv", one, csv);
    check_text(s, ONE "/metrics/train/loss?format=ndjson", any, json, lines);
    check_text(s, ONE "/metrics/train/loss", "Accept: application/x-ndjson", json, lines);
    check_text(s, ONE "/metrics?format=csv", any, all, csv);
    check_text(s, ONE "/metrics/train/loss?format=json", "Accept: text/csv", "{\"name\":", "json");
    check_status(s, ONE "/metrics/no/such?format=csv", 404);
    check_status(s, ONE "/metrics?format=xml", 400);
    check_status(s, ONE "/metrics/train/loss?agg=all", 400);
    check_status(s, ONE "/metrics/train/loss?limit=5", 400);
    check_status(s, ONE "/metrics/train/loss?agg=raw&cursor=no", 400);
    struct answer a = http_get(s, ONE "/metrics/train/loss?agg=raw&limit=3&from=4");
    cr_assert(cJSON_GetArraySize(json_get(a.json, "points")) == 3 &&
                  cJSON_IsString(json_get(a.json, "next_cursor")),
              "%s", a.body);
    answer_free(&a);
}

/* Time-steps 1 and 2 of the neurons 8 to 23, four neurons a cell. */
static void check_window(const struct service *s, const unsigned char *bits)
{
    struct answer a = http_get(s,
                               ONE "/monitors/7/raster/0?format=bin&t0=1&t1=3&n0=8&n1=24&max_h=4");
    cr_assert(a.status == 200 && a.length == 2 * 4, "%ld, %zu bytes", a.status, a.length);
    for (int t = 0; t < 2; t++)
        for (int cell = 0; cell < 4; cell++) {
            int count = 0;
            for (int n = 8 + 4 * cell; n < 12 + 4 * cell; n++)
                count += bits[(t + 1) * 4 + n / 8] >> n % 8 & 1;
            cr_expect_eq(a.body[t * 4 + cell], count, "time-step %d, cell %d", t + 1, cell);
        }
    answer_free(&a);
    a = http_get(s, ONE "/monitors/7/raster/0?max_w=1");
    cr_expect_str_eq(json_get_string(a.json, "dtype", ""), "u8");
    cr_expect_eq(json_get_int(json_get(a.json, "window"), "t_cell", 0), 4);
    answer_free(&a);
    a = http_get(s, ONE "/monitors/7/psn_weight/last?max_w=1");
    cr_expect_eq(a.status, 400);
    answer_free(&a);
}

static void check_records(const struct service *s)
{
    struct answer a = http_get(s, ONE "/monitors");
    cr_assert(has_item(a.json, "kind", "raster") && has_item(a.json, "kind", "psn_weight"), "%s",
              a.body);
    answer_free(&a);
    a = http_get(s, ONE "/monitors/7/raster/last");
    const cJSON *dims = json_get(a.json, "dims");
    cr_assert(cJSON_GetArrayItem(dims, 0)->valuedouble == 4 &&
              cJSON_GetArrayItem(dims, 1)->valuedouble == 32);
    answer_free(&a);
    a = http_get(s, ONE "/monitors/7/raster/0?format=bin");
    cr_assert(a.length == 4 * 4, "%zu bytes", a.length);
    check_window(s, (const unsigned char *)a.body);
    answer_free(&a);
    a = http_get(s, ONE "/monitors/7/psn_weight/last?format=bin");
    cr_assert(a.length == 4 * 4 * sizeof(float), "%zu bytes", a.length);
    answer_free(&a);
}

static void check_files(const struct service *s)
{
    struct answer a = http_get(s, ONE "/artifacts");
    cr_assert(has_item(a.json, "path", "weights.safetensors") &&
                  has_item(a.json, "path", "best.safetensors"),
              "%s", a.body);
    cr_assert(!has_item(a.json, "path", "spool"));
    answer_free(&a);
    const char *const range[] = { "Range: bytes=8-15", NULL };
    a = http_call(s, "GET", ONE "/artifacts/weights.safetensors", NULL, range);
    cr_assert(a.status == 206 && a.length == 8 &&
                  strstr(a.head, "Content-Range: bytes 8-15/") != NULL,
              "%s", a.head);
    answer_free(&a);
    a = http_get(s, ONE "/artifacts/..%2F..%2Flock");
    cr_assert(a.status == 404, "%ld", a.status);
    answer_free(&a);
    a = http_get(s, ONE "/logs?tail=3");
    cr_assert(a.status == 200 && strstr(a.body, "accuracy") != NULL, "%s", a.body);
    answer_free(&a);
}

static void check_result(const struct service *s)
{
    cJSON *x = experiment(s, 1);
    cr_assert(json_get_int(json_get(x, "progress"), "step", 0) == 108);
    cr_assert(json_get_number(json_get(x, "metrics"), "val/accuracy", 0) > 0.3);
    cr_assert(json_get(json_get(x, "summary"), "test_accuracy") != NULL);
    cr_assert(strlen(json_get_string(x, "result_hash", "")) == 64);
    cr_assert(json_get_int(json_get(json_get(x, "spec"), "train"), "batch_size", 0) == 16);
    cJSON_Delete(x);
    struct answer a = http_get(s, ONE);
    const char *tag = strstr(a.head, "ETag: ");
    cr_assert(tag != NULL);
    char match[64];
    (void)snprintf(match, sizeof match, "If-None-Match: %.*s", (int)strcspn(tag + 6, "\r"),
                   tag + 6);
    const char *const headers[] = { match, NULL };
    struct answer b = http_call(s, "GET", ONE, NULL, headers);
    cr_assert(b.status == 304, "%ld", b.status);
    answer_free(&a);
    answer_free(&b);
}

/* Goal: a submitted experiment trains; its states, points and records stream and can be read

 * after. */
Test(training, an_experiment_runs_and_can_be_watched)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(3, NULL);
    struct answer a = http_post(&s, "/api/v1/experiments?dry_run=true", spec);
    cr_assert(a.status == 200 &&
                  json_get_int(a.json, "parameters", 0) == 144 + 32 + 1 + 576 * 32 + 32 + 20 + 330,
              "%s", a.body);
    answer_free(&a);
    a = http_post(&s, "/api/v1/experiments", spec);
    cr_assert(a.status == 201 && strstr(a.head, "Location: " ONE) != NULL, "%s", a.head);
    const char *id_header = strstr(a.head, "X-Event-Id: ");
    cr_assert(id_header != NULL);
    char path[200];
    (void)snprintf(path, sizeof path,
                   "/api/v1/events?topics=experiments,experiment:1&last_event_id=%.*s",
                   (int)strcspn(id_header + 12, "\r"), id_header + 12);
    answer_free(&a);
    char *stream = http_stream(&s, path, "\"state\":\"succeeded\"", 60);
    static const char *const parts[] = { "event: hello",
                                         "\"state\":\"queued\"",
                                         "\"state\":\"starting\"",
                                         "\"state\":\"running\"",
                                         "event: experiment.points",
                                         "\"train/loss\":[[1,",
                                         "event: experiment.record",
                                         "\"kind\":\"raster\"",
                                         "event: experiment.progress",
                                         "\"state\":\"succeeded\"" };
    const char *at = stream;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const bool ordered = i < 4;
        const char *hit = strstr(ordered ? at : stream, parts[i]);
        cr_assert(hit != NULL, "%s is missing in %.3000s", parts[i], stream);
        if (ordered) at = hit;
    }
    mem_free(stream);
    check_metrics(&s);
    check_exports(&s);
    check_records(&s);
    check_files(&s);
    check_result(&s);
    mem_free(spec);
    service_end(&s);
}

static void expect_profile(const cJSON *p)
{
    const cJSON *layers = json_get(p, "layers"), *linear = cJSON_GetArrayItem(layers, 6);
    double ms = 0;
    const cJSON *l;
    cr_assert_eq(cJSON_GetArraySize(layers), 9);
    cJSON_ArrayForEach(l, layers)
        ms += json_get_number(l, "forward_ms", 1e9) + json_get_number(l, "backward_ms", 1e9);
    cr_assert(ms > 0 && ms < 1e6, "%g ms", ms);
    cr_assert_gt(json_get_number(p, "step_ms", 0), 0);
    cr_assert_eq(json_get_int(p, "samples", 0), 16);
    cr_assert_str_eq(json_get_string(linear, "path", ""), "6");
    cr_assert_str_eq(json_get_string(linear, "type", ""), "linear");
    cr_assert_str_eq(json_get_string(linear, "forward_path", ""), "event");
    const double density = json_get_number(linear, "input_density", -1);
    cr_assert(density > 0 && density < 1, "%g", density);
}

/* What follows "data: " of the last event of a name. */
static cJSON *last_event(const char *stream, const char *name)
{
    char words[60];
    const char *last = NULL;
    cJSON *json = NULL;
    struct err e = { 0 };
    (void)snprintf(words, sizeof words, "event: %s\ndata: ", name);
    for (const char *at = stream; (at = strstr(at, words)) != NULL; last = at) at += strlen(words);
    cr_assert_not_null(last, "no %s in %.3000s", name, stream);
    cr_assert_eq(json_parse(last, strcspn(last, "\n"), &json, &e), 0, "%s", e.text);
    return json;
}

static bool profile_is(const struct service *s, const cJSON *want)
{
    struct answer a = http_get(s, ONE "/profile");
    cr_assert(a.status == 200 && strstr(a.head, "application/json") != NULL, "%s", a.head);
    char *text = json_print(want, NULL);
    const bool same = strcmp(a.body, text) == 0;
    mem_free(text);
    answer_free(&a);
    return same;
}

/* Goal: where the time goes is told while a training runs, to those who look at it, and can be read
 * after its end and after a restart of the daemon; before there is any, that is said. */
Test(training, a_profile_streams_and_stays)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(3, NULL);
    cr_assert_eq(submit(&s, spec), 1);
    char *stream = http_stream(&s, "/api/v1/events?topics=experiment:1&last_event_id=1-1",
                               "\"state\":\"succeeded\"", 60);
    cJSON *event = last_event(stream, "experiment.profile");
    const cJSON *profile = json_get(event, "profile");
    cr_assert_eq(json_get_int(event, "id", 0), 1);
    cr_assert_eq(json_get_int(profile, "step", 0), 108);
    expect_profile(profile);
    cr_assert(strstr(stream, "\"step\":11,\"epoch\":0,") != NULL, "no early profile");
    mem_free(stream);
    cr_assert(profile_is(&s, profile));
    struct answer a = http_get(&s, ONE "/monitors/@net/profile/last");
    cr_assert(a.status == 200 && strcmp(json_get_string(a.json, "dtype", ""), "json") == 0, "%s",
              a.body);
    answer_free(&a);
    stream = http_stream(&s, "/api/v1/events?topics=experiments&last_event_id=1-1",
                         "\"state\":\"succeeded\"", 5);
    cr_assert(strstr(stream, "experiment.state") && !strstr(stream, "experiment.profile"));
    mem_free(stream);
    service_stop(&s);
    service_restart(&s);
    cr_assert(profile_is(&s, profile));
    cJSON_Delete(event);
    mem_free(spec);
    spec = small_spec(1, NULL);
    char *one_step = strstr(spec, "\"epochs\": 1");
    cr_assert_not_null(one_step);
    char *shorter = mem_printf("%.*s\"max_steps\": 1, %s", (int)(one_step - spec), spec, one_step);
    cr_assert_eq(submit(&s, shorter), 2);
    cr_assert(wait_state(&s, 2, "succeeded", 60));
    a = http_get(&s, "/api/v1/experiments/2/profile");
    cr_assert(a.status == 404 && strstr(a.body, "has no profile yet") != NULL, "%s", a.body);
    answer_free(&a);
    mem_free(shorter);
    mem_free(spec);
    service_end(&s);
}

/* Goal: a stream taken up again at an id misses nothing and repeats nothing; an unknown id says
 * reset. */
Test(training, a_stream_resumes_where_it_ended)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    (void)submit(&s, spec);
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    struct answer a = http_get(&s, "/api/v1/experiments");
    const char *header = strstr(a.head, "X-Event-Id: ");
    const long epoch = strtol(header + 12, NULL, 10);
    answer_free(&a);
    char path[120];
    (void)snprintf(path, sizeof path, "/api/v1/events?topics=experiment:1&last_event_id=%ld-2",
                   epoch);
    char *stream = http_stream(&s, path, "\"state\":\"succeeded\"", 5);
    (void)snprintf(path, sizeof path, "id: %ld-3\n", epoch);
    cr_assert(strstr(stream, path) != NULL && strstr(stream, "event: reset") == NULL, "%.600s",
              stream);
    (void)snprintf(path, sizeof path, "id: %ld-1\nevent: experiment", epoch);
    cr_assert(strstr(stream, path) == NULL);
    mem_free(stream);
    (void)snprintf(path, sizeof path, "/api/v1/events?topics=experiment:1&last_event_id=%ld-2",
                   epoch + 7);
    stream = http_stream(&s, path, "event: reset", 5);
    cr_assert(strstr(stream, "event: reset") != NULL, "%.300s", stream);
    mem_free(stream);
    mem_free(spec);
    service_end(&s);
}

/* Goal: the monitors that a spec has by default suit every kind of sample: images, frames of
 * events, sequences. The input stands beside the rasters with all its frames. */
Test(training, samples_of_every_kind_are_monitored, .timeout = 120)
{
    static const struct {
        const char *dataset;
        size_t classes, frames, values;
    } kinds[] = { { "glyphs", 10, 1, 28 * 28 },
                  { "moving-glyphs", 10, 12, 2 * 28 * 28 },
                  { "delayed-recall", 8, 12, 10 } };
    struct service s = { 0 };
    service_start(&s);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char *spec = mem_printf(
            "{\"version\": 1, \"time_steps\": 12, \"dataset\": {\"name\": \"%s\", \"train_limit\":"
            " 200, \"test_limit\": 50}, \"network\": {\"layers\": [{\"type\": \"flatten\"},"
            " {\"type\": \"linear\", \"out_features\": %zu}, {\"type\": \"neuron\"}],"
            " \"neuron\": {\"model\": \"plif\"}}, \"train\": {\"epochs\": 2, \"batch_size\": 32},"
            " \"retry\": {\"max_attempts\": 1}}",
            kinds[i].dataset, kinds[i].classes);
        const int64_t id = submit(&s, spec);
        cr_assert(wait_state(&s, id, "succeeded", 60), "%s", kinds[i].dataset);
        char path[100];
        (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/monitors/@input/input/last"
                                          "?format=bin", (long long)id);
        struct answer a = http_get(&s, path);
        cr_assert(a.length == kinds[i].frames * kinds[i].values * sizeof(float), "%s: %zu bytes",
                  kinds[i].dataset, a.length);
        answer_free(&a);
        mem_free(spec);
    }
    service_end(&s);
}

/* Goal: labels can be changed, with a guard against changes that came first; deletion takes all. */
Test(training, labels_change_and_deletion_removes)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(1, NULL);
    (void)submit(&s, spec);
    struct answer a = http_call(&s, "DELETE", ONE, NULL, NULL);
    cr_assert(a.status == 409, "%ld", a.status);
    answer_free(&a);
    cr_assert(wait_state(&s, 1, "succeeded", 60));
    a = http_call(&s, "PATCH", ONE, "{\"name\": \"better\", \"tags\": [\"a\", \"b\"]}", NULL);
    cr_assert(a.status == 200 && strcmp(json_get_string(a.json, "name", ""), "better") == 0, "%s",
              a.body);
    answer_free(&a);
    const char *const old[] = { "If-Match: \"r1\"", NULL };
    a = http_call(&s, "PATCH", ONE, "{\"name\": \"late\"}", old);
    cr_assert(a.status == 412, "%ld", a.status);
    answer_free(&a);
    a = http_get(&s, "/api/v1/experiments?tag=b&q=bett&state=succeeded");
    cr_assert(json_get_int(a.json, "total", 0) == 1, "%s", a.body);
    answer_free(&a);
    a = http_call(&s, "DELETE", ONE, NULL, old);
    cr_assert(a.status == 412, "%ld", a.status);
    answer_free(&a);
    char folder[200];
    cJSON *x = experiment(&s, 1);
    (void)snprintf(folder, sizeof folder, "%s/state/files/%s", s.folder,
                   json_get_string(x, "uid", ""));
    cJSON_Delete(x);
    cr_assert(access(folder, F_OK) == 0, "%s", folder);
    a = http_call(&s, "DELETE", ONE "?purge=true", NULL, NULL);
    cr_assert(a.status == 204, "%ld %s", a.status, a.body);
    answer_free(&a);
    a = http_get(&s, ONE);
    cr_assert(a.status == 404);
    answer_free(&a);
    for (int i = 0; access(folder, F_OK) == 0 && i < 100; i++) sleep_ms(50);
    cr_assert(access(folder, F_OK) != 0, "its files are left");
    mem_free(spec);
    service_end(&s);
}
