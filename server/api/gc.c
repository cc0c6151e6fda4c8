/* gc: POST /admin/gc: purges what is deleted, or only says what that would take. What it frees is
 * added up in the pool; then each is purged by a change of its own, as any other. */
#include "server/api/api_internal.h"

#include "common/clock.h"
#include "server/queue/folder_size.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define ITEMS_MAX 1000 /* of one request: `more` says that there are others */
#define AGE_MAX_S 10000000000

struct gc_item {
    int64_t id, deleted_ms, bytes;
    char uid[UID_TEXT_MAX], user[QUEUE_USER_MAX];
};
struct gc {
    struct api_work work;
    struct api *api;
    struct queue_actor actor;
    char actor_name[QUEUE_USER_MAX];
    bool dry, more;
    int64_t before_ms;
    size_t left, purged; /* changes that are being written; that were */
    size_t n;
    struct gc_item items[ITEMS_MAX];
};

/* ---- what there is --------------------------------------------------------------------------- */
static bool take(void *ctx, const struct experiment *x)
{
    struct gc *g = ctx;
    if (x->deleted_ms > g->before_ms) return true;
    if (g->n == ITEMS_MAX) {
        g->more = true;
        return false;
    }
    struct gc_item *i = &g->items[g->n++];
    i->id = x->id;
    i->deleted_ms = x->deleted_ms;
    (void)snprintf(i->uid, sizeof i->uid, "%s", x->uid);
    (void)snprintf(i->user, sizeof i->user, "%s", x->user);
    return true;
}

static void add_up(struct api_work *w)
{
    struct gc *g = container_of(w, struct gc, work);
    char path[PATH_MAX];
    for (size_t i = 0; i < g->n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", g->api->files_dir, g->items[i].uid);
        g->items[i].bytes = folder_size(path);
    }
}

/* ---- the answer ------------------------------------------------------------------------------ */
static bool add_item(cJSON *list, const struct gc_item *i)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return json_add_int(o, "id", i->id) && cJSON_AddStringToObject(o, "user", i->user) != NULL &&
           json_add_time(o, "deleted_at", i->deleted_ms) &&
           json_add_int(o, "files_bytes", i->bytes);
}

static void answer(struct gc *g)
{
    cJSON *o = cJSON_CreateObject();
    int64_t bytes = 0;
    for (size_t i = 0; i < g->n; i++) bytes += g->items[i].bytes;
    bool ok = o != NULL && cJSON_AddBoolToObject(o, "dry_run", g->dry) != NULL &&
              json_add_int(o, "experiments", (int64_t)g->n) &&
              json_add_int(o, "files_bytes", bytes) &&
              json_add_int(o, "purged", (int64_t)g->purged) &&
              cJSON_AddBoolToObject(o, "more", g->more) != NULL;
    cJSON *list = ok ? cJSON_AddArrayToObject(o, "items") : NULL;
    ok = list != NULL;
    for (size_t i = 0; ok && i < g->n; i++) ok = add_item(list, &g->items[i]);
    respond_json(g->work.r, 200, ok ? o : NULL);
    cJSON_Delete(o);
    mem_free(g);
}

/* One that was taken back or purged meanwhile is not counted. */
static void one_purged(void *ctx, const struct experiment *x, const struct err *e)
{
    struct gc *g = ctx;
    (void)x;
    g->purged += e->code == ERR_OK;
    if (--g->left == 0) answer(g);
}

static void added_up(struct api_work *w)
{
    struct gc *g = container_of(w, struct gc, work);
    if (g->dry || g->n == 0 || g->api->stopping) {
        answer(g);
        return;
    }
    g->left = g->n + 1; /* or the last one would free it in this loop */
    for (size_t i = 0; i < g->n; i++)
        if (queue_find_deleted(g->api->queue, g->items[i].id) != NULL)
            queue_remove_experiment(g->api->queue, g->items[i].id, REMOVAL_PURGE, 0, g->actor,
                                    one_purged, g);
        else g->left--;
    if (--g->left == 0) answer(g);
}

/* ---- the request ----------------------------------------------------------------------------- */
/* {} or {"deleted_for_s": 3600}; false after a problem was answered. */
static bool read_age(struct request *r, int64_t *age_s)
{
    cJSON *body = api_body(r);
    if (body == NULL) return false;
    const cJSON *item = body->child;
    const double age = json_get_number(body, "deleted_for_s", 0);
    const bool known = item == NULL || (item->next == NULL && cJSON_IsNumber(item) &&
                                        strcmp(item->string, "deleted_for_s") == 0);
    *age_s = (int64_t)age;
    const bool ok = known && age >= 0 && age <= AGE_MAX_S && (double)*age_s == age;
    if (!ok) api_problem(r, ERR_INVALID, "the body may have deleted_for_s, whole seconds, alone");
    cJSON_Delete(body);
    return ok;
}

void api_gc(struct request *r)
{
    struct api *a = api_of(r);
    int64_t age_s;
    bool dry;
    if (!api_dry_run(r, &dry) || !read_age(r, &age_s)) return;
    struct gc *g = mem_calloc(1, sizeof *g);
    if (g == NULL) {
        api_problem(r, ERR_NOMEM, "request");
        return;
    }
    g->api = a;
    g->actor = api_actor(r);
    (void)snprintf(g->actor_name, sizeof g->actor_name, "%s", g->actor.user);
    g->actor.user = g->actor_name; /* the request may be over before */
    g->dry = dry;
    g->before_ms = clock_wall_ms() - 1000 * age_s;
    queue_each_deleted(a->queue, take, g);
    api_work_start(&g->work, r, add_up, added_up);
}
