/* sweep_space: see sweep_space.h. What a body says is read by sweep_plan.c. */
#include "server/api/sweep_space.h"

#include "common/mem.h"
#include "common/philox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */
/* Six digits: what people read is what is trained with, and no library's last bit shows. */
static double rounded(double v)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.6g", v);
    return strtod(text, NULL);
}

/* At the part `u` of the way from min to max. */
static double between(const struct space_axis *a, double u)
{
    const double v = a->log ? exp(log(a->min) + u * (log(a->max) - log(a->min)))
                            : a->min + u * (a->max - a->min);
    const double near = u <= 0 ? a->min : u >= 1 ? a->max : rounded(v);
    return near < a->min ? a->min : near > a->max ? a->max : near;
}

int64_t sweep_axis_choices(const struct space_axis *a)
{
    if (a->values != NULL) return cJSON_GetArraySize(a->values);
    if (a->steps > 0) return a->steps;
    return a->integer ? (int64_t)(a->max - a->min) + 1 : 0;
}

/* Number k of its choices. */
static cJSON *choice(const struct space_axis *a, int64_t k)
{
    if (a->values != NULL) return cJSON_Duplicate(cJSON_GetArrayItem(a->values, (int)k), true);
    if (a->steps == 0) return cJSON_CreateNumber(a->min + (double)k);
    const double v = between(a, a->steps > 1 ? (double)k / (double)(a->steps - 1) : 0);
    return cJSON_CreateNumber(a->integer ? round(v) : v);
}

static cJSON *drawn(const struct sweep_plan *p, size_t axis, int64_t member)
{
    const struct space_axis *a = &p->axes[axis];
    const struct philox_key key = philox_key(p->seed, PHILOX_SWEEP);
    const uint32_t who = (uint32_t)member, where = (uint32_t)axis;
    const int64_t n = sweep_axis_choices(a);
    if (n > 0 && !(a->log && a->integer && a->steps == 0))
        return choice(a, philox_below(key, 0, who, 0, where, (uint32_t)n));
    const double high = philox_u32(key, 0, who, 0, where) >> 5;
    const double low = philox_u32(key, 1, who, 0, where) >> 6;
    const double v = between(a, (high * 67108864.0 + low) / 9007199254740992.0);
    return cJSON_CreateNumber(a->integer ? round(v) : v);
}

cJSON *sweep_parameters(const struct sweep_plan *p, int64_t i)
{
    cJSON *o = cJSON_CreateObject();
    int64_t rest = i;
    for (size_t axis = p->n_axes; o != NULL && axis-- > 0;) { /* the last one turns fastest */
        const int64_t n = p->strategy == SWEEP_GRID ? sweep_axis_choices(&p->axes[axis]) : 1;
        cJSON *v = p->strategy == SWEEP_GRID ? choice(&p->axes[axis], rest % n) : drawn(p, axis, i);
        rest /= n;
        if (v != NULL && cJSON_AddItemToObject(o, p->axes[axis].pointer, v)) continue;
        cJSON_Delete(v);
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}

/* ---- putting them into the spec -------------------------------------------------------------- */
/* Reads one part of a pointer; false: it is too long. */
static bool next_part(const char **at, char part[128])
{
    size_t n = 0;
    for ((*at)++; **at != '\0' && **at != '/'; (*at)++) {
        char c = **at;
        if (c == '~') {
            c = (*at)[1] == '1' ? '/' : '~';
            (*at)++;
        }
        if (n + 1 >= 128) return false;
        part[n++] = c;
    }
    part[n] = '\0';
    return true;
}

static cJSON *child_of(cJSON *at, const char *part)
{
    char *end;
    if (!cJSON_IsArray(at)) return cJSON_GetObjectItemCaseSensitive(at, part);
    const long i = strtol(part, &end, 10);
    return part[0] != '\0' && *end == '\0' && i >= 0 ? cJSON_GetArrayItem(at, (int)i) : NULL;
}

static bool put_last(cJSON *at, cJSON *old, const char *part, cJSON *v)
{
    if (cJSON_IsArray(at)) return old != NULL && cJSON_ReplaceItemViaPointer(at, old, v);
    if (old != NULL) return cJSON_ReplaceItemInObjectCaseSensitive(at, part, v);
    return cJSON_IsObject(at) && cJSON_AddItemToObject(at, part, v);
}

/* Puts v in its place, making objects on the way there; takes v over. false: there is no way. */
static bool put(cJSON *root, const char *pointer, cJSON *v)
{
    char part[128];
    cJSON *at = root;
    while (next_part(&pointer, part)) {
        cJSON *child = child_of(at, part);
        if (*pointer == '\0') {
            if (put_last(at, child, part, v)) return true;
            break;
        }
        if (child == NULL && cJSON_IsObject(at)) child = cJSON_AddObjectToObject(at, part);
        if (!cJSON_IsObject(child) && !cJSON_IsArray(child)) break;
        at = child;
    }
    cJSON_Delete(v);
    return false;
}

void sweep_space_pointer(const char *pointer, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "/space/");
    for (; *pointer != '\0' && n + 3 < size; pointer++) {
        if (*pointer == '/' || *pointer == '~') {
            out[n++] = '~';
            out[n++] = *pointer == '/' ? '1' : '0';
        } else {
            out[n++] = *pointer;
        }
    }
    out[n] = '\0';
}

static bool put_budget(const struct sweep_plan *p, cJSON *spec)
{
    const struct halving *h = &p->like.halving;
    cJSON *v = h->eta > 0 ? cJSON_CreateNumber((double)h->max) : NULL;
    return h->eta == 0 ||
           (v != NULL && put(spec, h->steps ? "/train/max_steps" : "/train/epochs", v));
}

/* The spec of member i; NULL after a fault was added, or out of memory. */
static cJSON *member_spec(const struct sweep_plan *p, int64_t i, const cJSON *parameters,
                          struct json_faults *faults)
{
    char name[SPEC_NAME_MAX + 24], at[200];
    cJSON *spec = cJSON_Duplicate(p->base, true);
    (void)snprintf(name, sizeof name, "%.*s-%lld", SPEC_NAME_MAX - 8, p->like.name,
                   (long long)i + 1);
    bool ok = spec != NULL && put(spec, "/name", cJSON_CreateString(name)) && put_budget(p, spec);
    const cJSON *item;
    cJSON_ArrayForEach(item, parameters) {
        if (!ok || put(spec, item->string, cJSON_Duplicate(item, true))) continue;
        sweep_space_pointer(item->string, at, sizeof at);
        if (!json_fault_at(faults, at))
            json_fault_add(faults, at, "not_found", "the base has no place %.120s", item->string);
        ok = false;
    }
    if (ok) return spec;
    cJSON_Delete(spec);
    return NULL;
}

/* ---- members --------------------------------------------------------------------------------- */
/* Whether the fault lies where the axis puts its value, or inside or around it. */
static bool concerns(const char *fault, const char *pointer)
{
    const size_t n = strlen(pointer), m = strlen(fault);
    const size_t least = n < m ? n : m;
    if (m == 0 || strncmp(fault, pointer, least) != 0) return false;
    return n == m || (n < m ? fault[n] == '/' : pointer[m] == '/');
}

static void tell(const struct sweep_plan *p, int64_t i, const cJSON *parameters,
                 const struct json_fault *f, struct json_faults *faults)
{
    char at[200], *value = NULL;
    (void)snprintf(at, sizeof at, "/base%.190s", f->pointer);
    for (size_t a = 0; a < p->n_axes && value == NULL; a++) {
        if (!concerns(f->pointer, p->axes[a].pointer)) continue;
        sweep_space_pointer(p->axes[a].pointer, at, sizeof at);
        value = json_print(json_get(parameters, p->axes[a].pointer), NULL);
    }
    if (value == NULL && json_fault_at(faults, at)) return; /* the same for every member */
    json_fault_add(faults, at, f->code, "member %lld%s%.60s, at %.100s: %.200s", (long long)i + 1,
                   value != NULL ? " with " : "", value != NULL ? value : "", f->pointer,
                   f->detail);
    mem_free(value);
}

static int member(const struct sweep_plan *p, int64_t i, const struct queue_actor *actor,
                  struct queue_row *row, struct json_faults *own, struct json_faults *faults,
                  struct err *e)
{
    struct spec spec;
    const size_t before = faults->total;
    cJSON *parameters = sweep_parameters(p, i);
    cJSON *json = parameters != NULL ? member_spec(p, i, parameters, faults) : NULL;
    int rc = 0;
    *own = (struct json_faults){ 0 };
    if (json == NULL && faults->total == before) rc = err_set(e, ERR_NOMEM, "member of a sweep");
    if (json != NULL) rc = spec_parse(json, &spec, own, e);
    if (json != NULL && rc == 0) {
        rc = queue_row_init(row, &spec, actor, e);
        row->parameters = rc == 0 ? json_print(parameters, NULL) : NULL;
        if (rc == 0 && row->parameters == NULL) rc = err_set(e, ERR_NOMEM, "member of a sweep");
        spec_deinit(&spec);
    } else if (rc == ERR_SPEC) {
        for (size_t k = 0; k < own->count; k++) tell(p, i, parameters, &own->items[k], faults);
        err_clear(e);
        rc = 0;
    }
    cJSON_Delete(json);
    cJSON_Delete(parameters);
    return rc;
}

int sweep_members(const struct sweep_plan *p, const struct queue_actor *actor,
                  struct queue_row **rows, struct json_faults *faults, struct err *e)
{
    struct json_faults *own = mem_calloc(1, sizeof *own);
    struct queue_row *all = mem_calloc((size_t)p->n, sizeof all[0]);
    int rc = own == NULL || all == NULL ? err_set(e, ERR_NOMEM, "members of a sweep") : 0;
    for (int64_t i = 0; rc == 0 && i < p->n && faults->count < JSON_FAULTS_MAX; i++)
        rc = member(p, i, actor, &all[i], own, faults, e);
    if (rc == 0 && faults->total > 0) rc = err_set(e, ERR_SPEC, "members of the sweep have faults");
    mem_free(own);
    if (rc == 0) {
        *rows = all;
        return 0;
    }
    for (int64_t i = 0; all != NULL && i < p->n; i++) queue_row_deinit(&all[i]);
    mem_free(all);
    return rc;
}
