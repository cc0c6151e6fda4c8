/* sweep_plan: what the body of POST /sweeps says, every fault at once. See sweep_space.h. */
#include "server/api/sweep_space.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BUDGET_MAX 1000000000

static const char *const strategies[SWEEP_STRATEGIES] = {
    [SWEEP_GRID] = "grid", [SWEEP_RANDOM] = "random", [SWEEP_ASHA] = "asha"
};

/* A whole number from min to max; a fault and `min` when it is none. */
static int64_t whole(const cJSON *v, const char *at, int64_t min, int64_t max,
                     struct json_faults *faults)
{
    const double d = cJSON_IsNumber(v) ? v->valuedouble : NAN;
    if (d >= (double)min && d <= (double)max && d == floor(d)) return (int64_t)d;
    json_fault_add(faults, at, "out_of_range", "must be a whole number from %lld to %lld",
                   (long long)min, (long long)max);
    return min;
}

static void unknown(const char *at, const char *name, const char *const *names, size_t n,
                    struct json_faults *faults)
{
    char pointer[200];
    const char *near = json_nearest(name, names, n);
    (void)snprintf(pointer, sizeof pointer, "%.130s/%.60s", at, name);
    json_fault_add(faults, pointer, "unknown_field", "is no field%s%s",
                   near != NULL ? "; did you mean " : "", near != NULL ? near : "");
}

/* ---- the space ------------------------------------------------------------------------------- */
static void read_values(const cJSON *v, const char *at, struct space_axis *a,
                        struct json_faults *faults)
{
    const int n = cJSON_IsArray(v) ? cJSON_GetArraySize(v) : 0;
    if (n < 1 || n > SPACE_VALUES_MAX)
        json_fault_add(faults, at, "wrong_type", "must be a list of 1 to %d values",
                       SPACE_VALUES_MAX);
    else a->values = v;
}

static void read_axis_field(const cJSON *v, const char *at, struct space_axis *a,
                            struct json_faults *faults)
{
    static const char *const names[] = { "values", "min", "max", "steps", "log", "integer" };
    char pointer[200];
    (void)snprintf(pointer, sizeof pointer, "%.150s/%.40s", at, v->string);
    const bool min = strcmp(v->string, "min") == 0, log = strcmp(v->string, "log") == 0;
    if (strcmp(v->string, "values") == 0) {
        read_values(v, pointer, a, faults);
    } else if (min || strcmp(v->string, "max") == 0) {
        *(min ? &a->min : &a->max) = cJSON_IsNumber(v) ? v->valuedouble : NAN;
        if (!cJSON_IsNumber(v)) json_fault_add(faults, pointer, "wrong_type", "must be a number");
    } else if (strcmp(v->string, "steps") == 0) {
        a->steps = whole(v, pointer, 1, SPACE_VALUES_MAX, faults);
    } else if (log || strcmp(v->string, "integer") == 0) {
        *(log ? &a->log : &a->integer) = cJSON_IsTrue(v);
        if (!cJSON_IsBool(v))
            json_fault_add(faults, pointer, "wrong_type", "must be true or false");
    } else {
        unknown(at, v->string, names, 6, faults);
    }
}

static void check_range(const struct space_axis *a, const char *at, bool grid,
                        struct json_faults *faults)
{
    if (isnan(a->min) || isnan(a->max)) {
        json_fault_add(faults, at, "missing", "values, or min and max, must be given");
    } else if (a->min > a->max || (a->log && a->min <= 0)) {
        json_fault_add(faults, at, "out_of_range", "min must be at most max%s",
                       a->log ? ", and above 0 with log" : "");
    } else if (a->integer && (a->min != floor(a->min) || a->max != floor(a->max) ||
                              fabs(a->min) > 1e9 || fabs(a->max) > 1e9)) {
        json_fault_add(faults, at, "out_of_range", "min and max must be whole numbers below 1e9");
    } else if (grid && a->steps == 0 && (!a->integer || a->log)) {
        json_fault_add(faults, at, "missing", "a grid needs values, or steps from min to max");
    }
}

static void read_axis(const cJSON *item, struct sweep_plan *p, struct json_faults *faults)
{
    struct space_axis *a = &p->axes[p->n_axes];
    char at[200];
    const cJSON *field;
    const size_t before = faults->total;
    *a = (struct space_axis){ .pointer = item->string, .min = NAN, .max = NAN };
    sweep_space_pointer(item->string, at, sizeof at);
    if (item->string[0] != '/' || strlen(item->string) > 120) {
        json_fault_add(faults, at, "not_allowed",
                       "must be a JSON pointer into the spec, like /train/optimizer/lr");
        return;
    }
    if (!cJSON_IsObject(item)) {
        json_fault_add(faults, at, "wrong_type",
                       "must be {\"values\": [...]} or {\"min\", \"max\"}");
        return;
    }
    cJSON_ArrayForEach(field, item) read_axis_field(field, at, a, faults);
    if (faults->total != before) return;
    if (a->values == NULL) check_range(a, at, p->strategy == SWEEP_GRID, faults);
    else if (cJSON_GetArraySize(item) > 1)
        json_fault_add(faults, at, "not_allowed", "values stand alone");
    p->n_axes++;
}

static void read_space(const cJSON *space, struct sweep_plan *p, struct json_faults *faults)
{
    const int n = cJSON_IsObject(space) ? cJSON_GetArraySize(space) : 0;
    const cJSON *item;
    if (n < 1 || n > SPACE_MAX) {
        json_fault_add(faults, "/space", "wrong_type", "must be an object of 1 to %d pointers",
                       SPACE_MAX);
        return;
    }
    cJSON_ArrayForEach(item, space) {
        const struct halving *h = &p->like.halving;
        const char *budget = h->steps ? "/train/max_steps" : "/train/epochs";
        if (h->eta > 0 && strcmp(item->string, budget) == 0)
            json_fault_add(faults, "/space", "not_allowed",
                           "%s is the budget, strategy.max sets it", budget);
        else if (strcmp(item->string, "/name") == 0)
            json_fault_add(faults, "/space", "not_allowed", "members are named by the sweep");
        else read_axis(item, p, faults);
    }
}

/* ---- the strategy ---------------------------------------------------------------------------- */
static void read_metric(const cJSON *v, struct sweep_plan *p, struct json_faults *faults)
{
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    if (!series_name_valid(text, strlen(text)))
        json_fault_add(faults, "/strategy/metric", "wrong_type", "must be the name of a series");
    else (void)snprintf(p->like.metric, sizeof p->like.metric, "%s", text);
}

static void read_goal(const cJSON *v, struct sweep_plan *p, struct json_faults *faults)
{
    static const char *const words[] = { "min", "max" };
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    p->like.higher = strcmp(text, "max") == 0;
    if (!p->like.higher && strcmp(text, "min") != 0)
        json_fault_choice(faults, "/strategy/goal", text, "goal", words, 2);
}

static void read_unit(const cJSON *v, struct sweep_plan *p, struct json_faults *faults)
{
    static const char *const words[] = { "epochs", "steps" };
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    p->like.halving.steps = strcmp(text, "steps") == 0;
    if (!p->like.halving.steps && strcmp(text, "epochs") != 0)
        json_fault_choice(faults, "/strategy/unit", text, "unit", words, 2);
}

static void read_strategy_field(const cJSON *v, struct sweep_plan *p, struct json_faults *faults)
{
    static const char *const names[] = { "type", "n",   "seed", "metric", "goal",
                                         "unit", "eta", "min",  "max" };
    const char *name = v->string;
    struct halving *h = &p->like.halving;
    if (strcmp(name, "type") == 0) return; /* read before */
    if (strcmp(name, "metric") == 0) read_metric(v, p, faults);
    else if (strcmp(name, "goal") == 0) read_goal(v, p, faults);
    else if (strcmp(name, "n") == 0 && p->strategy != SWEEP_GRID)
        p->n = whole(v, "/strategy/n", 1, SWEEP_MEMBERS_MAX, faults);
    else if (strcmp(name, "seed") == 0 && p->strategy != SWEEP_GRID)
        p->seed = (uint64_t)whole(v, "/strategy/seed", 0, 9007199254740991, faults);
    else if (strcmp(name, "unit") == 0 && p->strategy == SWEEP_ASHA) read_unit(v, p, faults);
    else if (strcmp(name, "eta") == 0 && p->strategy == SWEEP_ASHA)
        h->eta = whole(v, "/strategy/eta", 2, HALVING_ETA_MAX, faults);
    else if (strcmp(name, "min") == 0 && p->strategy == SWEEP_ASHA)
        h->min = whole(v, "/strategy/min", 1, BUDGET_MAX, faults);
    else if (strcmp(name, "max") == 0 && p->strategy == SWEEP_ASHA)
        h->max = whole(v, "/strategy/max", 1, BUDGET_MAX, faults);
    else unknown("/strategy", name, names, 9, faults);
}

static void check_strategy(const cJSON *strategy, struct sweep_plan *p, struct json_faults *faults)
{
    struct halving *h = &p->like.halving;
    if (p->strategy != SWEEP_GRID && p->n == 0 && json_get(strategy, "n") == NULL)
        json_fault_add(faults, "/strategy/n", "missing", "must be given");
    if (p->strategy != SWEEP_ASHA) {
        *h = (struct halving){ 0 };
        return;
    }
    if (json_get(strategy, "metric") == NULL)
        json_fault_add(faults, "/strategy/metric", "missing", "must be given");
    if (json_get(strategy, "max") == NULL)
        json_fault_add(faults, "/strategy/max", "missing", "must be given");
    else if (h->max <= h->min)
        json_fault_add(faults, "/strategy/max", "out_of_range", "must be above min, %lld",
                       (long long)h->min);
}

static void read_strategy(const cJSON *strategy, struct sweep_plan *p, struct json_faults *faults)
{
    const char *type = json_get_string(strategy, "type", "");
    int s = 0;
    const cJSON *item;
    while (s < SWEEP_STRATEGIES && strcmp(strategies[s], type) != 0) s++;
    if (s == SWEEP_STRATEGIES) {
        json_fault_choice(faults, "/strategy/type", type, "strategy", strategies, SWEEP_STRATEGIES);
        return;
    }
    p->strategy = (enum sweep_strategy)s;
    (void)snprintf(p->like.strategy, sizeof p->like.strategy, "%s", strategies[s]);
    p->like.halving = (struct halving){ .eta = 3, .min = 1 };
    (void)snprintf(p->like.metric, sizeof p->like.metric, "val/loss");
    cJSON_ArrayForEach(item, strategy) read_strategy_field(item, p, faults);
    if (json_get(strategy, "goal") == NULL) {
        const struct series_info *info = series_find(p->like.metric);
        p->like.higher = info != NULL && info->higher_is_better;
    }
    check_strategy(strategy, p, faults);
}

/* ---- the whole ------------------------------------------------------------------------------- */
/* The number of points of the grid; a fault when there are too many. */
static void count_members(struct sweep_plan *p, struct json_faults *faults)
{
    if (p->strategy != SWEEP_GRID) return;
    p->n = 1;
    for (size_t i = 0; i < p->n_axes && p->n <= SWEEP_MEMBERS_MAX; i++)
        p->n *= sweep_axis_choices(&p->axes[i]);
    if (p->n > SWEEP_MEMBERS_MAX)
        json_fault_add(faults, "/space", "out_of_range", "is a grid of more than %d members",
                       SWEEP_MEMBERS_MAX);
}

static void read_field(const cJSON *item, struct sweep_plan *p, struct json_faults *faults)
{
    static const char *const names[] = { "name",     "base",         "space",
                                         "strategy", "max_parallel", "max_fails" };
    const char *name = item->string;
    if (strcmp(name, "name") == 0) {
        if (!cJSON_IsString(item) || item->valuestring[0] == '\0' ||
            strlen(item->valuestring) > SPEC_NAME_MAX - 8)
            json_fault_add(faults, "/name", "out_of_range", "a text of 1 to %d bytes",
                           SPEC_NAME_MAX - 8);
        else (void)snprintf(p->like.name, sizeof p->like.name, "%s", item->valuestring);
    } else if (strcmp(name, "base") == 0) {
        if (!cJSON_IsObject(item)) json_fault_add(faults, "/base", "wrong_type", "must be a spec");
        p->base = item;
    } else if (strcmp(name, "max_parallel") == 0) {
        p->like.max_parallel = whole(item, "/max_parallel", 0, SWEEP_MEMBERS_MAX, faults);
    } else if (strcmp(name, "max_fails") == 0) {
        p->like.max_fails = whole(item, "/max_fails", 0, SWEEP_MEMBERS_MAX, faults);
    } else if (strcmp(name, "space") != 0 && strcmp(name, "strategy") != 0) {
        unknown("", name, names, 6, faults);
    }
}

int sweep_plan_read(const cJSON *body, struct sweep_plan *p, struct json_faults *faults,
                    struct err *e)
{
    static const char *const needed[] = { "name", "base", "space", "strategy" };
    const cJSON *item;
    *p = (struct sweep_plan){ 0 };
    for (size_t i = 0; i < 4; i++) {
        char at[16];
        (void)snprintf(at, sizeof at, "/%s", needed[i]);
        if (json_get(body, needed[i]) == NULL)
            json_fault_add(faults, at, "missing", "must be given");
    }
    cJSON_ArrayForEach(item, body) read_field(item, p, faults);
    if (json_get(body, "strategy") != NULL) read_strategy(json_get(body, "strategy"), p, faults);
    if (json_get(body, "space") != NULL) read_space(json_get(body, "space"), p, faults);
    if (faults->total == 0) count_members(p, faults);
    if (faults->total == 0) return 0;
    return err_set(e, ERR_INVALID, "%zu field%s wrong", faults->total,
                   faults->total == 1 ? " is" : "s are");
}
