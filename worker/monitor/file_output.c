/* file_output: see file_output.h. One line a point: {"series","step","time_ms","value"}. */
#include "worker/monitor/file_output.h"

#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_EVERY_MS 200
#define PLAIN_EVERY_MS 5000
#define LINE_BYTES_MAX 512

/* Byte offset behind the last line whose step is at most `step`; a torn last line is cut as

 * well. */
static long keep_until(FILE *f, uint64_t step)
{
    char line[LINE_BYTES_MAX];
    long keep = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        const char *at = strstr(line, "\"step\":");
        uint64_t got;
        if (strchr(line, '\n') == NULL || at == NULL ||
            sscanf(at, "\"step\":%" SCNu64, &got) != 1 || got > step)
            break;
        keep = ftell(f);
    }
    return keep;
}

int file_output_open(struct file_output *f, const char *dir, const char *events,
                     uint64_t resume_step, struct err *e)
{
    *f = (struct file_output){ .terminal = isatty(STDERR_FILENO) == 1 };
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/metrics.ndjson", dir);
    f->metrics = fopen(path, "a+e");
    if (f->metrics == NULL) return err_errno(e, errno, "%.150s", path);
    rewind(f->metrics);
    if (ftruncate(fileno(f->metrics), keep_until(f->metrics, resume_step)) != 0)
        return err_errno(e, errno, "%.150s", path);
    (void)fseek(f->metrics, 0, SEEK_END);
    if (events == NULL) return 0;
    f->events = fopen(events, "ae");
    return f->events != NULL ? 0 : err_errno(e, errno, "%.150s", events);
}

void file_output_close(struct file_output *f)
{
    if (f->metrics != NULL) (void)fclose(f->metrics);
    if (f->events != NULL) (void)fclose(f->events);
    if (f->terminal && f->last_ms != 0) (void)fputc('\n', stderr);
    *f = (struct file_output){ 0 };
}

static void put_value(FILE *to, double v)
{
    if (isnan(v)) (void)fputs("\"NaN\"", to);
    else if (isinf(v)) (void)fputs(v > 0 ? "\"Infinity\"" : "\"-Infinity\"", to);
    else (void)fprintf(to, "%.17g", v);
}

static int points(void *ctx, const struct wire_series *series, size_t n, struct err *e)
{
    struct file_output *f = ctx;
    FILE *const files[2] = { f->metrics, f->events };
    for (size_t k = 0; k < 2; k++) {
        if (files[k] == NULL) continue;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < series[i].n_points; j++) {
                const struct point *p = &series[i].points[j];
                (void)fprintf(files[k],
                              "{\"series\":\"%s\",\"step\":%" PRIu64 ",\"time_ms\":%" PRId64
                              ",\"value\":",
                              series[i].name, p->step, p->time_ms);
                put_value(files[k], p->value);
                (void)fputs("}\n", files[k]);
            }
        if (ferror(files[k])) return err_errno(e, errno, "writing metrics");
    }
    if (f->events != NULL) (void)fflush(f->events);
    return 0;
}

static int sync_file(void *ctx, struct err *e)
{
    struct file_output *f = ctx;
    if (fflush(f->metrics) != 0 || fsync(fileno(f->metrics)) != 0)
        return err_errno(e, errno, "writing metrics");
    return 0;
}

static void progress(void *ctx, const struct train_progress *p)
{
    struct file_output *f = ctx;
    const int64_t now = clock_mono_ms();
    const bool same = p->step == f->said_step && p->epoch == f->said_epoch; /* an evaluation */
    const bool last = p->step == p->steps_total && !same;
    if (!last && f->last_ms != 0 &&
        now - f->last_ms < (f->terminal ? PROGRESS_EVERY_MS : PLAIN_EVERY_MS))
        return;
    f->last_ms = now;
    f->said_step = p->step;
    f->said_epoch = p->epoch;
    const int filled = p->steps_total > 0 ? (int)(20 * p->step / p->steps_total) : 0;
    static const char bar[] = "####################--------------------";
    (void)fprintf(stderr, "%s[%.20s] step %" PRIu64 "/%" PRIu64 "  epoch %" PRIu64 "/%" PRIu64
                  "  loss %.4f  val accuracy %.4f  %.0f samples/s%s",
                  f->terminal ? "\r" : "", bar + 20 - filled, p->step, p->steps_total, p->epoch,
                  p->epochs, p->train_loss, p->val_accuracy, p->samples_per_s,
                  f->terminal ? "  " : "\n");
}

struct output file_output_of(struct file_output *f)
{
    return (struct output){ .ctx = f, .points = points, .sync = sync_file, .progress = progress };
}
