/* check_golden: see check_golden.h. This file reads the index, picks what runs a case, compares and
 * counts; golden_*.c compute. */
#include "worker/train/check_golden.h"

#include "common/mem.h"
#include "worker/kernels/kernel_trace.h"
#include "worker/train/golden_case.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#define FILES_MAX 32
#define FAMILIES_MAX 32
#define REFUSALS_MAX 32

/* ---- what a running case uses ---------------------------------------------------------------- */
const struct safetensors_entry *golden_tensor(const struct golden_case *c, const char *role)
{
    char name[SAFETENSORS_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s/%s", c->name, role);
    return safetensors_find(c->file, name);
}

const float *golden_data(const struct golden_case *c, const char *role)
{
    const struct safetensors_entry *t = golden_tensor(c, role);
    return t == NULL ? NULL : t->data;
}

bool golden_expects(const struct golden_case *c, const char *role)
{
    return json_get(c->expected, role) != NULL;
}

void golden_fail(struct golden_case *c, const char *tensor, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(c->out, "FAIL %s%s%s: ", c->name, tensor[0] == '\0' ? "" : " ", tensor);
    vfprintf(c->out, fmt, args);
    if (c->variant != NULL) fprintf(c->out, " (input as %s)", c->variant);
    fputc('\n', c->out);
    va_end(args);
    c->failures++;
}

void golden_refuse(struct golden_case *c, const char *why)
{
    (void)snprintf(c->refused, sizeof c->refused, "%s", why);
}

void golden_compare(struct golden_case *c, const char *role, const float *got, size_t n)
{
    const cJSON *limits = json_get(c->expected, role);
    if (limits == NULL) return;
    c->compared++;
    const struct safetensors_entry *want = golden_tensor(c, role);
    if (want == NULL || want->type != SAFETENSORS_F32 || want->elements != n) {
        golden_fail(c, role, "expected %zu values, computed %zu", want == NULL ? 0 : want->elements,
                    n);
        return;
    }
    const double atol = cJSON_GetArrayItem(limits, 0)->valuedouble;
    const double rtol = cJSON_GetArrayItem(limits, 1)->valuedouble;
    const float *w = want->data;
    size_t bad = 0, worst_at = 0;
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - (double)w[i]);
        const double limit = atol + rtol * fabs((double)w[i]);
        const double ratio = error == 0.0 ? 0.0 : limit == 0.0 ? (double)INFINITY : error / limit;
        if (error <= limit && ratio <= worst) continue;
        bad += !(error <= limit); /* a NaN is bad too */
        if (!(ratio <= worst)) {
            worst = ratio;
            worst_at = i;
        }
    }
    if (!(worst <= c->worst)) c->worst = worst;
    if (bad > 0)
        golden_fail(c, role, "%zu of %zu values differ, element %zu is %.9g instead of %.9g", bad,
                    n, worst_at, (double)got[worst_at], (double)w[worst_at]);
}

/* ---- the walk -------------------------------------------------------------------------------- */
/* A family with its runner. Ops that a runner does not know fail by name inside it. */
#define GRADIENT "a surrogate is a gradient, and an evaluation has none"
#define UPDATE "updates of a training, with its batch statistics and gradients"
#define NO_NETWORK "no forward pass of a network"
static const struct {
    const char *family;
    golden_run_fn *run;
    const char *no_stream; /* why time-steps as they come have none of its cases; NULL: they may */
} runners[] = {
    { "surrogate", golden_run_surrogate, GRADIENT },
    { "neuron", golden_run_neuron, NULL },
    { "psn", golden_run_neuron, NULL },
    { "layer", golden_run_layer, NULL },
    { "loss", golden_run_loss, NO_NETWORK },
    { "optimizer", golden_run_optimizer, NO_NETWORK },
    { "schedule", golden_run_schedule, NO_NETWORK },
    { "encoder", golden_run_encoder, NO_NETWORK },
    { "trajectory", golden_run_trajectory, UPDATE },
    { "block", golden_run_block, NULL },
    { "net", golden_run_net, UPDATE },
    { "event", golden_run_event, NO_NETWORK },
};

struct golden_family {
    const char *name;
    size_t passed, failed, refused;
    double worst;
};
/* Why cases of a family were refused. */
struct golden_refusal {
    const char *family;
    char why[sizeof((struct golden_case *)0)->refused];
    size_t cases;
};
struct golden {
    const char *dir;
    const struct check_golden_options *options;
    FILE *out;
    cJSON *index;
    struct {
        const char *name;
        struct safetensors st;
    } files[FILES_MAX];
    size_t n_files;
    struct golden_family families[FAMILIES_MAX];
    size_t n_families;
    struct golden_refusal refusals[REFUSALS_MAX];
    size_t n_refusals;
    struct kernel_trace trace;
};

static int read_index(struct golden *g, struct err *e)
{
    char *path = mem_printf("%s/index.json", g->dir), *text = NULL;
    FILE *f = NULL;
    size_t size = 0, got;
    int rc = 0;
    if (path == NULL) return err_set(e, ERR_NOMEM, "index");
    f = fopen(path, "rbe");
    if (f == NULL) {
        rc = err_errno(e, errno, "%s", path);
        goto done;
    }
    do {
        char *more = mem_realloc_array(text, size + (1 << 16), 1);
        if (more == NULL) {
            rc = err_set(e, ERR_NOMEM, "%s", path);
            goto done;
        }
        text = more;
        got = fread(text + size, 1, 1 << 16, f);
        size += got;
    } while (got > 0);
    if (ferror(f)) rc = err_set(e, ERR_IO, "%s", path);
    else if (json_parse(text, size, &g->index, e) != 0) rc = err_wrap(e, "%s", path);
done:
    if (f != NULL) fclose(f);
    mem_free(text);
    mem_free(path);
    return rc;
}

/* The file of a case, read once. */
static int find_file(struct golden *g, const char *name, const struct safetensors **out,
                     struct err *e)
{
    for (size_t i = 0; i < g->n_files; i++)
        if (strcmp(g->files[i].name, name) == 0) {
            *out = &g->files[i].st;
            return 0;
        }
    if (g->n_files == FILES_MAX || strchr(name, '/') != NULL)
        return err_set(e, ERR_DATA, "index.json: file %s", name);
    char *path = mem_printf("%s/%s", g->dir, name);
    if (path == NULL) return err_set(e, ERR_NOMEM, "%s", name);
    int rc = safetensors_read(path, &g->files[g->n_files].st, e);
    mem_free(path);
    if (rc != 0) return rc;
    g->files[g->n_files].name = name;
    *out = &g->files[g->n_files++].st;
    return 0;
}

static struct golden_family *family_of(struct golden *g, const char *name)
{
    for (size_t i = 0; i < g->n_families; i++)
        if (strcmp(g->families[i].name, name) == 0) return &g->families[i];
    if (g->n_families == FAMILIES_MAX) return &g->families[FAMILIES_MAX - 1];
    g->families[g->n_families] = (struct golden_family){ .name = name };
    return &g->families[g->n_families++];
}

/* The last place takes what is too many. */
static void note_refusal(struct golden *g, const struct golden_case *c)
{
    size_t i = 0;
    while (i < g->n_refusals && (strcmp(g->refusals[i].family, c->family) != 0 ||
                                 strcmp(g->refusals[i].why, c->refused) != 0))
        i++;
    if (i == REFUSALS_MAX) i--;
    struct golden_refusal *r = &g->refusals[i];
    if (i == g->n_refusals) {
        r->family = c->family;
        (void)snprintf(r->why, sizeof r->why, "%s", c->refused);
        g->n_refusals++;
    }
    r->cases++;
}

static void dispatch(struct golden_case *c)
{
    for (size_t i = 0; i < sizeof runners / sizeof runners[0]; i++) {
        if (strcmp(runners[i].family, c->family) != 0) continue;
        if (golden_streams(c) && runners[i].no_stream != NULL)
            golden_refuse(c, runners[i].no_stream);
        else runners[i].run(c);
        return;
    }
    golden_fail(c, "", "no op %s", c->op);
}

static bool wanted(const struct golden *g, const char *name, const char *family)
{
    const char *only = g->options->only;
    return only == NULL || strncmp(name, only, strlen(only)) == 0 ||
           strncmp(family, only, strlen(only)) == 0;
}

static int run_case(struct golden *g, const cJSON *json, struct err *e)
{
    struct golden_case c = {
        .options = g->options,
        .trace = &g->trace,
        .out = g->out,
        .name = json_get_string(json, "name", NULL),
        .family = json_get_string(json, "family", NULL),
        .op = json_get_string(json, "op", NULL),
        .hp = json_get(json, "hp"),
        .expected = json_get(json, "expected"),
    };
    const char *file = json_get_string(json, "file", NULL);
    if (c.name == NULL || c.family == NULL || c.op == NULL || file == NULL || c.hp == NULL ||
        c.expected == NULL)
        return err_set(e, ERR_DATA, "index.json: a case without name, family, op, file or hp");
    if (!wanted(g, c.name, c.family)) return 0;
    if (find_file(g, file, &c.file, e) != 0) return (int)e->code;
    dispatch(&c);
    struct golden_family *family = family_of(g, c.family);
    const bool refused = c.failures == 0 && c.refused[0] != '\0';
    family->passed += c.failures == 0 && !refused;
    family->failed += c.failures != 0;
    family->refused += refused;
    if (refused) note_refusal(g, &c);
    if (c.failures == 0 && c.worst > family->worst) family->worst = c.worst;
    return 0;
}

/* ---- the report ------------------------------------------------------------------------------ */
static void print_table(const struct golden *g, const struct check_golden_result *r)
{
    fprintf(g->out, "%-12s %7s %7s %7s %18s\n", "family", "passed", "failed", "refused",
            "worst error/limit");
    for (size_t i = 0; i < g->n_families; i++) {
        const struct golden_family *f = &g->families[i];
        fprintf(g->out, "%-12s %7zu %7zu %7zu %18.3f\n", f->name, f->passed, f->failed, f->refused,
                f->worst);
    }
    fprintf(g->out, "%-12s %7zu %7zu %7zu\n", "all", r->passed, r->failed, r->refused);
    for (size_t i = 0; i < g->n_refusals; i++)
        fprintf(g->out, "refused %-12s %7zu %s\n", g->refusals[i].family, g->refusals[i].cases,
                g->refusals[i].why);
    for (size_t i = 0; i < KERNEL_ID_COUNT; i++)
        if (g->trace.calls[i] > 0)
            fprintf(g->out, "kernel %-40s %10" PRIu64 " calls\n", kernel_name(i),
                    g->trace.calls[i]);
}

/* {"conv_forward_bits": calls, ...} */
static bool add_kernels(cJSON *o, const struct kernel_trace *trace)
{
    cJSON *kernels = cJSON_AddObjectToObject(o, "kernels");
    bool ok = kernels != NULL;
    for (size_t i = 0; ok && i < KERNEL_ID_COUNT; i++)
        ok = trace->calls[i] == 0 ||
             json_add_int(kernels, kernel_name(i), (int64_t)trace->calls[i]);
    return ok;
}

static bool add_family(cJSON *array, const struct golden_family *f)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(array, o)) return false;
    return cJSON_AddStringToObject(o, "family", f->name) != NULL &&
           json_add_int(o, "passed", (int64_t)f->passed) &&
           json_add_int(o, "failed", (int64_t)f->failed) &&
           json_add_int(o, "refused", (int64_t)f->refused) &&
           json_add_number(o, "worst_error_over_limit", f->worst);
}

static bool add_refusal(cJSON *array, const struct golden_refusal *r)
{
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(array, o)) return false;
    return cJSON_AddStringToObject(o, "family", r->family) != NULL &&
           json_add_int(o, "cases", (int64_t)r->cases) &&
           cJSON_AddStringToObject(o, "why", r->why) != NULL;
}

static int print_json(const struct golden *g, const struct check_golden_result *r, struct err *e)
{
    cJSON *o = cJSON_CreateObject();
    cJSON *families = o == NULL ? NULL : cJSON_AddArrayToObject(o, "families");
    bool ok = families != NULL && json_add_int(o, "passed", (int64_t)r->passed) &&
              json_add_int(o, "failed", (int64_t)r->failed) &&
              json_add_int(o, "refused", (int64_t)r->refused) &&
              cJSON_AddStringToObject(o, "isa", isa_name(g->options->isa)) != NULL;
    ok = ok && add_kernels(o, &g->trace);
    cJSON *refusals = ok ? cJSON_AddArrayToObject(o, "refusals") : NULL;
    ok = refusals != NULL;
    for (size_t i = 0; ok && i < g->n_families; i++) ok = add_family(families, &g->families[i]);
    for (size_t i = 0; ok && i < g->n_refusals; i++) ok = add_refusal(refusals, &g->refusals[i]);
    size_t length;
    char *text = ok ? json_print_pretty(o, &length) : NULL;
    cJSON_Delete(o);
    if (text == NULL) return err_set(e, ERR_NOMEM, "report");
    fprintf(g->out, "%s\n", text);
    mem_free(text);
    return 0;
}

static int run_all(struct golden *g, struct check_golden_result *result, struct err *e)
{
    const cJSON *cases = json_get(g->index, "cases"), *one;
    if (!cJSON_IsArray(cases)) return err_set(e, ERR_DATA, "index.json has no list of cases");
    cJSON_ArrayForEach(one, cases)
        if (run_case(g, one, e) != 0) return (int)e->code;
    struct check_golden_result r = { 0 };
    for (size_t i = 0; i < g->n_families; i++) {
        r.passed += g->families[i].passed;
        r.failed += g->families[i].failed;
        r.refused += g->families[i].refused;
    }
    if (r.passed + r.failed + r.refused == 0)
        return err_set(e, ERR_DATA, "%s: no case to run", g->dir);
    *result = r;
    if (g->options->json) return print_json(g, &r, e);
    print_table(g, &r);
    return 0;
}

int check_golden(const char *dir, const struct check_golden_options *o, FILE *out,
                 struct check_golden_result *result, struct err *e)
{
    struct golden g = { .dir = dir, .options = o, .out = out };
    int rc = read_index(&g, e);
    if (rc == 0) rc = run_all(&g, result, e);
    for (size_t i = 0; i < g.n_files; i++) safetensors_deinit(&g.files[i].st);
    cJSON_Delete(g.index);
    return rc;
}
