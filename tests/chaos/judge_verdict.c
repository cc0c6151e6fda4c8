/* judge verdict: see judge.h. */
#include "common/mem.h"
#include "tests/chaos/judge.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define EXPERIMENTS_MAX 4096
#define LINE_BYTES 512

struct sent { /* a submission of the client */
    char key[JUDGE_WORD_MAX], spec[JUDGE_WORD_MAX], uid[JUDGE_WORD_MAX];
    int64_t id;            /* 0 = never acknowledged */
    bool asked, cancelled; /* to cancel; and it was answered that it is */
};
struct evidence {
    const char *dir, *files_dir, *undisturbed;
    struct sent *sent;
    struct judged *experiments;
    size_t n_sent, n_experiments;
    int64_t acked, points, weights, workers, samples;
};
static int faults;

void judge_fault(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fputs("fault ", stdout);
    (void)vprintf(fmt, args);
    (void)fputc('\n', stdout);
    va_end(args);
    faults++;
}

/* ---- reading --------------------------------------------------------------------------------- */
static FILE *open_evidence(const struct evidence *v, const char *name)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", v->dir, name);
    FILE *f = fopen(path, "re");
    if (f == NULL) (void)fprintf(stderr, "judge: %s is missing\n", path);
    return f;
}

static struct sent *sent_key(struct evidence *v, const char *key)
{
    for (size_t i = 0; i < v->n_sent; i++)
        if (strcmp(v->sent[i].key, key) == 0) return &v->sent[i];
    return NULL;
}

static bool client_line(struct evidence *v, const char *line)
{
    struct sent s = { 0 }, *known;
    if (sscanf(line, "sent %127s %127s", s.key, s.spec) == 2) {
        if (sent_key(v, s.key) != NULL) return true; /* once more, after no answer came */
        if (v->n_sent == EXPERIMENTS_MAX) return false;
        v->sent[v->n_sent++] = s;
        return true;
    }
    if (sscanf(line, "acked %127s %" SCNd64 " %127s", s.key, &s.id, s.uid) == 3) {
        known = sent_key(v, s.key);
        if (known == NULL) return false;
        if (known->id != 0 && known->id != s.id)
            judge_fault("doubled_experiment %s is both %" PRId64 " and %" PRId64, s.key, known->id,
                        s.id);
        v->acked += known->id == 0;
        known->id = s.id;
        (void)snprintf(known->uid, sizeof known->uid, "%s", s.uid);
        return true;
    }
    const bool over = sscanf(line, "cancelled %" SCNd64, &s.id) == 1;
    if (!over && sscanf(line, "asked %" SCNd64, &s.id) != 1) return false;
    for (size_t i = 0; i < v->n_sent; i++) {
        if (v->sent[i].id != s.id) continue;
        v->sent[i].asked = true;
        v->sent[i].cancelled |= over;
    }
    return true;
}

static bool read_client(struct evidence *v)
{
    char line[LINE_BYTES];
    FILE *f = open_evidence(v, "client.log");
    bool ok = f != NULL;
    while (ok && fgets(line, sizeof line, f) != NULL) ok = client_line(v, line);
    if (f != NULL) (void)fclose(f);
    return ok && v->n_sent > 0;
}

static bool read_experiments(struct evidence *v)
{
    char line[LINE_BYTES];
    FILE *f = open_evidence(v, "api/experiments.txt");
    bool ok = f != NULL;
    while (ok && fgets(line, sizeof line, f) != NULL) {
        struct judged x = { 0 };
        ok = v->n_experiments < EXPERIMENTS_MAX &&
             sscanf(line, "%" SCNd64 " %127s %127s %127s %" SCNd64, &x.id, x.uid, x.name, x.state,
                    &x.attempt) == 5;
        if (ok) v->experiments[v->n_experiments++] = x;
    }
    if (f != NULL) (void)fclose(f);
    return ok;
}

/* ---- judging --------------------------------------------------------------------------------- */
static const struct judged *found(const struct evidence *v, const struct sent *s)
{
    const struct judged *first = NULL;
    for (size_t i = 0; i < v->n_experiments; i++) {
        const struct judged *x = &v->experiments[i];
        if (strcmp(x->name, s->key) != 0) continue;
        if (first == NULL) first = x;
        else
            judge_fault("doubled_experiment %s is both %" PRId64 " and %" PRId64, s->key, first->id,
                        x->id);
    }
    return first;
}

/* Every 201 is there, once, under its number, and came to the end that was asked for. */
static void judge_submission(const struct evidence *v, const struct sent *s)
{
    const struct judged *x = found(v, s);
    if (s->id == 0) return; /* nobody was told anything */
    if (x == NULL || x->id != s->id || strcmp(x->uid, s->uid) != 0) {
        judge_fault("lost_experiment %s, acknowledged as %" PRId64, s->key, s->id);
        return;
    }
    const bool succeeded = strcmp(x->state, "succeeded") == 0;
    const bool cancelled = strcmp(x->state, "cancelled") == 0;
    if (!(succeeded && !s->cancelled) && !(cancelled && s->asked))
        judge_fault("wrong_state experiment %" PRId64 " is %s", x->id, x->state);
}

/* 0 = equal, 1 = not, -1 = cannot be read. */
static int differ(const char *a, const char *b)
{
    FILE *x = fopen(a, "rbe"), *y = fopen(b, "rbe");
    int rc = x != NULL && y != NULL ? 0 : -1, c = 0;
    while (rc == 0 && c != EOF) {
        c = fgetc(x);
        rc = c != fgetc(y);
    }
    if (x != NULL) (void)fclose(x);
    if (y != NULL) (void)fclose(y);
    return rc;
}

/* What the API gives, what the last attempt left, what the undisturbed run came to: all one. */
static void judge_weights(struct evidence *v, const struct judged *x, const char *spec)
{
    char api[PATH_MAX], own[PATH_MAX], want[PATH_MAX];
    (void)snprintf(api, sizeof api, "%s/api/%" PRId64 "/weights.safetensors", v->dir, x->id);
    (void)snprintf(own, sizeof own, "%s/%s/attempt-%" PRId64 "/weights.safetensors", v->files_dir,
                   x->uid, x->attempt);
    (void)snprintf(want, sizeof want, "%s/%s/weights.safetensors", v->undisturbed, spec);
    if (differ(api, want) != 0) judge_fault("other_weights experiment %" PRId64, x->id);
    if (differ(own, want) != 0)
        judge_fault("other_weights experiment %" PRId64 " attempt-%" PRId64, x->id, x->attempt);
    v->weights++;
}

static bool judge_results(struct evidence *v, const struct judged *x)
{
    const struct sent *s = sent_key(v, x->name);
    char api[PATH_MAX], want[PATH_MAX];
    if (s == NULL) {
        judge_fault("foreign_experiment %" PRId64 " %s", x->id, x->name);
        return true;
    }
    (void)snprintf(api, sizeof api, "%s/api", v->dir);
    (void)snprintf(want, sizeof want, "%s/%s", v->undisturbed, s->spec);
    const int64_t points = judge_points(api, x, want);
    if (points < 0) (void)fprintf(stderr, "judge: points of %" PRId64 " or %s\n", x->id, want);
    v->points += points;
    if (strcmp(x->state, "succeeded") == 0) judge_weights(v, x, s->spec);
    return points >= 0;
}

/* Folders of attempts: those the API counts and no other. */
static void judge_folders(const struct evidence *v, const struct judged *x)
{
    char path[PATH_MAX];
    struct stat st;
    for (int64_t n = 1; n <= x->attempt + 1; n++) {
        (void)snprintf(path, sizeof path, "%s/%s/attempt-%" PRId64, v->files_dir, x->uid, n);
        const bool there = stat(path, &st) == 0;
        if (there && n > x->attempt)
            judge_fault("foreign_attempt experiment %" PRId64 " attempt %" PRId64, x->id, n);
    }
}

/* ---- at most one attempt alive --------------------------------------------------------------- */
struct alive {
    int64_t experiment, attempt;
    long pid;
};

static void judge_begin(const struct alive *now, size_t n, const struct alive *x, int64_t ms)
{
    for (size_t i = 0; i < n; i++)
        if (now[i].experiment == x->experiment)
            judge_fault("two_alive experiment %" PRId64 " attempts %" PRId64 " and %" PRId64
                        " at %" PRId64 " ms",
                        x->experiment, now[i].attempt, x->attempt, ms);
}

static bool judge_alive(struct evidence *v)
{
    struct alive now[256], x;
    size_t n = 0;
    char line[LINE_BYTES], what[16];
    int64_t ms;
    FILE *f = open_evidence(v, "alive.log");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "samples %" SCNd64, &v->samples) == 1) continue;
        if (sscanf(line, "%15s %" SCNd64 " %" SCNd64 " %" SCNd64 " %ld", what, &ms, &x.experiment,
                   &x.attempt, &x.pid) != 5 ||
            n == 256)
            break;
        if (strcmp(what, "began") == 0) {
            judge_begin(now, n, &x, ms);
            now[n++] = x;
            v->workers++;
        }
        for (size_t i = 0; strcmp(what, "ended") == 0 && i < n; i++)
            if (now[i].pid == x.pid) now[i] = now[--n];
    }
    if (f != NULL) (void)fclose(f);
    return v->samples > 0 && v->workers > 0;
}

int judge_verdict(const char *evidence, const char *files_dir, const char *undisturbed)
{
    struct evidence v = { .dir = evidence, .files_dir = files_dir, .undisturbed = undisturbed };
    v.sent = mem_calloc(EXPERIMENTS_MAX, sizeof v.sent[0]);
    v.experiments = mem_calloc(EXPERIMENTS_MAX, sizeof v.experiments[0]);
    bool ok = v.sent != NULL && v.experiments != NULL && read_client(&v) && read_experiments(&v);
    for (size_t i = 0; ok && i < v.n_sent; i++) judge_submission(&v, &v.sent[i]);
    for (size_t i = 0; ok && i < v.n_experiments; i++) {
        ok = judge_results(&v, &v.experiments[i]);
        judge_folders(&v, &v.experiments[i]);
    }
    ok = ok && judge_alive(&v);
    /* Evidence of nothing proves nothing. */
    if (!ok || v.points == 0 || v.weights == 0) {
        (void)fprintf(stderr, "judge: the evidence is not whole\n");
        ok = false;
    }
    (void)printf("judged %zu experiments, %" PRId64 " of them acknowledged, %" PRId64
                 " points, %" PRId64 " weight files, %" PRId64 " workers in %" PRId64
                 " samples: %d faults\n",
                 v.n_experiments, v.acked, v.points, v.weights, v.workers, v.samples, faults);
    mem_free(v.sent);
    mem_free(v.experiments);
    return !ok ? 2 : faults > 0;
}
