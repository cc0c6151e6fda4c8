/* points_window: see points_window.h. */
#include "server/stream/points_window.h"

#include "common/mem.h"

#include <string.h>

struct window {
    struct list link;
    int64_t experiment, sent_ms;
    cJSON *waiting; /* NULL = nothing */
    size_t bytes;   /* of the texts in it */
};

void points_windows_init(struct points_windows *w,
                         void (*send)(void *ctx, int64_t experiment, const char *data_json),
                         void *ctx)
{
    *w = (struct points_windows){ .send = send, .ctx = ctx };
    list_init(&w->open);
}

static struct window *find(struct points_windows *w, int64_t experiment)
{
    list_for_each(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        if (one->experiment == experiment) return one;
    }
    return NULL;
}

static void send_waiting(struct points_windows *w, struct window *one, int64_t now_ms)
{
    if (one->waiting == NULL) return;
    char *text = json_print(one->waiting, NULL);
    cJSON_Delete(one->waiting);
    one->waiting = NULL;
    one->bytes = 0;
    one->sent_ms = now_ms;
    if (text != NULL) w->send(w->ctx, one->experiment, text);
    mem_free(text);
}

/* Takes the points of from over, behind those of into. */
static void append(cJSON *into, cJSON *from)
{
    cJSON *series = cJSON_GetObjectItemCaseSensitive(into, "series");
    cJSON *more = cJSON_GetObjectItemCaseSensitive(from, "series");
    while (more != NULL && more->child != NULL) {
        cJSON *list = cJSON_DetachItemViaPointer(more, more->child);
        cJSON *known = cJSON_GetObjectItemCaseSensitive(series, list->string);
        if (known == NULL) {
            (void)cJSON_AddItemToObject(series, list->string, list);
            continue;
        }
        while (list->child != NULL)
            (void)cJSON_AddItemToArray(known, cJSON_DetachItemViaPointer(list, list->child));
        cJSON_Delete(list);
    }
}

/* false: no memory, or not what points look like. */
static bool keep(struct window *one, const char *data_json)
{
    struct err e = { 0 };
    cJSON *json = NULL;
    const size_t n = strlen(data_json);
    if (json_parse(data_json, n, &json, &e) != 0) return false;
    if (one->waiting == NULL) {
        one->waiting = json;
    } else {
        append(one->waiting, json);
        cJSON_Delete(json);
    }
    one->bytes += n;
    return true;
}

void points_windows_put(struct points_windows *w, int64_t experiment, const char *data_json,
                        int64_t now_ms)
{
    struct window *one = find(w, experiment);
    if (one == NULL) {
        one = mem_calloc(1, sizeof *one);
        if (one != NULL) {
            *one = (struct window){ .experiment = experiment, .sent_ms = now_ms };
            list_append(&w->open, &one->link);
        }
        w->send(w->ctx, experiment, data_json);
        return;
    }
    if (!keep(one, data_json)) {
        send_waiting(w, one, now_ms);
        w->send(w->ctx, experiment, data_json);
        one->sent_ms = now_ms;
        return;
    }
    if (now_ms - one->sent_ms >= POINTS_EVERY_MS || one->bytes > POINTS_WAITING_BYTES_MAX)
        send_waiting(w, one, now_ms);
}

void points_windows_flush(struct points_windows *w, int64_t experiment, int64_t now_ms)
{
    list_for_each(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        if (experiment == 0 || one->experiment == experiment) send_waiting(w, one, now_ms);
    }
}

bool points_windows_turn(struct points_windows *w, int64_t now_ms)
{
    list_for_each_safe(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        if (now_ms - one->sent_ms < POINTS_EVERY_MS) continue;
        if (one->waiting != NULL) {
            send_waiting(w, one, now_ms);
            continue;
        }
        list_remove(&one->link);
        mem_free(one);
    }
    return !list_empty(&w->open);
}

void points_windows_deinit(struct points_windows *w)
{
    list_for_each_safe(it, &w->open) {
        struct window *one = container_of(it, struct window, link);
        cJSON_Delete(one->waiting);
        list_remove(&one->link);
        mem_free(one);
    }
}
