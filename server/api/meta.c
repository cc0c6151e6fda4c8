/* meta: what the daemon says about itself: version, caller, schema, datasets, queue, health. */
#include "server/api/api_internal.h"

#include "build_id.h"
#include "common/wire.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define API_VERSION 1
#define USER_FOLDERS_MAX 1000

void api_version(struct request *r)
{
    cJSON *o = cJSON_CreateObject();
    const bool ok = o != NULL && cJSON_AddStringToObject(o, "version", SPIKED_VERSION) != NULL &&
                    cJSON_AddStringToObject(o, "build", SPIKED_BUILD) != NULL &&
                    json_add_int(o, "api", API_VERSION) &&
                    json_add_int(o, "worker_protocol", WIRE_PROTOCOL);
    respond_json(r, 200, ok ? o : NULL);
    cJSON_Delete(o);
}

void api_me(struct request *r)
{
    cJSON *o = cJSON_CreateObject();
    const bool known = r->who.role != ROLE_NOBODY;
    const bool has_uid = known && r->who.uid != IDENTITY_NO_UID;
    const bool ok = o != NULL &&
                    (known ? cJSON_AddStringToObject(o, "user", r->who.user) != NULL
                           : cJSON_AddNullToObject(o, "user") != NULL) &&
                    (has_uid ? json_add_int(o, "uid", (int64_t)r->who.uid)
                             : cJSON_AddNullToObject(o, "uid") != NULL) &&
                    cJSON_AddStringToObject(o, "role", identity_role_name(r->who.role)) != NULL &&
                    cJSON_AddStringToObject(o, "via", identity_via_name(r->who.via)) != NULL &&
                    cJSON_AddStringToObject(o, "by", identity_by_name(r->who.by)) != NULL;
    respond_json(r, 200, ok ? o : NULL);
    cJSON_Delete(o);
}

void api_schema(struct request *r)
{
    cJSON *o = spec_schema();
    respond_json(r, 200, o);
    cJSON_Delete(o);
}

void api_queue(struct request *r)
{
    cJSON *o = queue_object(api_of(r)->queue);
    respond_json(r, 200, o);
    cJSON_Delete(o);
}

static void switched(void *ctx, const struct err *e)
{
    struct request *r = ctx;
    if (e->code == ERR_OK) api_queue(r);
    else respond_problem(r, e, NULL);
}

static void set(struct request *r, enum queue_switch which, bool on)
{
    if (!api_empty_body(r)) return;
    queue_set(api_of(r)->queue, which, on, api_actor(r), switched, r);
    request_suspend(r);
}

void api_queue_pause(struct request *r) { set(r, QUEUE_PAUSED, true); }
void api_queue_resume(struct request *r) { set(r, QUEUE_PAUSED, false); }
void api_drain(struct request *r) { set(r, QUEUE_DRAINING, true); }
void api_undrain(struct request *r) { set(r, QUEUE_DRAINING, false); }

void api_events(struct request *r)
{
    if (api_query_known(r, "topics|last_event_id")) sse_hub_subscribe(api_of(r)->hub, r);
}

void api_healthz(struct request *r) { respond_json_text(r, 200, "{\"status\":\"ok\"}"); }

void api_readyz(struct request *r)
{
    struct err e = { 0 };
    const struct queue *q = api_of(r)->queue;
    if (!queue_ready(q, &e)) respond_problem(r, &e, NULL);
    else if (queue_is(q, QUEUE_PAUSED))
        respond_json_text(r, 200, "{\"status\":\"ok\",\"queue\":\"paused\"}");
    else respond_json_text(r, 200, "{\"status\":\"ok\"}");
}

/* ---- datasets: the table, and the folders of the data directory ------------------------------ */
struct datasets_work {
    struct api_work work;
    const char *data_dir;
    cJSON *json;
};

static bool add_dataset(cJSON *list, const char *name, const struct spec_dataset_info *d,
                        bool available)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    bool ok = cJSON_AddStringToObject(o, "name", name) != NULL &&
              cJSON_AddBoolToObject(o, "built_in", d != NULL && d->built_in) != NULL &&
              cJSON_AddBoolToObject(o, "available", available) != NULL;
    if (d == NULL)
        return ok && cJSON_AddNullToObject(o, "shape") != NULL &&
               cJSON_AddStringToObject(o, "meaning", "a folder of the data directory") != NULL;
    const int64_t sizes[3] = { d->shape.c, d->shape.h, d->shape.w };
    cJSON *shape = ok ? cJSON_AddArrayToObject(o, "shape") : NULL;
    for (int i = 0; shape != NULL && i < 3; i++)
        (void)cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)sizes[i]));
    return shape != NULL && json_add_int(o, "classes", d->classes) &&
           json_add_int(o, "train_count", d->train_count) &&
           json_add_int(o, "test_count", d->test_count) &&
           cJSON_AddStringToObject(o, "meaning", d->meaning) != NULL;
}

static bool is_folder(const char *parent, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    if (parent == NULL || snprintf(path, sizeof path, "%s/%s", parent, name) >= (int)sizeof path)
        return false;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool add_folders(cJSON *list, const char *data_dir)
{
    DIR *dir = data_dir != NULL ? opendir(data_dir) : NULL;
    bool ok = true;
    int n = 0;
    for (struct dirent *d;
         ok && dir != NULL && n < USER_FOLDERS_MAX && (d = readdir(dir)) != NULL;) {
        if (d->d_name[0] == '.' || spec_dataset_find(d->d_name) != NULL ||
            !is_folder(data_dir, d->d_name))
            continue;
        ok = add_dataset(list, d->d_name, NULL, true);
        n++;
    }
    if (dir != NULL) (void)closedir(dir);
    return ok;
}

static void list_datasets(struct api_work *w)
{
    struct datasets_work *d = container_of(w, struct datasets_work, work);
    size_t count;
    const struct spec_dataset_info *rows = spec_datasets(&count);
    d->json = cJSON_CreateObject();
    cJSON *list = d->json != NULL ? cJSON_AddArrayToObject(d->json, "items") : NULL;
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < count; i++)
        ok = add_dataset(list, rows[i].name, &rows[i],
                         rows[i].built_in || is_folder(d->data_dir, rows[i].name));
    if (ok && add_folders(list, d->data_dir)) return;
    cJSON_Delete(d->json);
    d->json = NULL;
}

static void answer_datasets(struct api_work *w)
{
    struct datasets_work *d = container_of(w, struct datasets_work, work);
    respond_json(w->r, 200, d->json);
    cJSON_Delete(d->json);
    mem_free(d);
}

void api_datasets(struct request *r)
{
    struct datasets_work *d = mem_calloc(1, sizeof *d);
    if (d == NULL) {
        api_problem(r, ERR_NOMEM, "request");
        return;
    }
    d->data_dir = api_of(r)->data_dir;
    api_work_start(&d->work, r, list_datasets, answer_datasets);
}
