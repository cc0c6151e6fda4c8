/* fake-worker: speaks the worker protocol like spiked-worker and trains nothing. What it does
 * stands in the experiment's name, which it finds in its spec: quick STEPS            hello, the
 * points of so many steps at once, finish steady STEPS SECONDS   so many steps a second, sent every
 * 200 ms like the real reporter does fill POINTS            one series as fast as it is taken, then
 * finish records                a raster, another when records.bin has grown beyond 1 GiB, finish
 *   sleep                  renews until it is asked to stop
 * A step is one frame of ten series. The first line of its output tells when it began. */
#include "common/clock.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SERIES 10
#define SEND_EVERY_MS 200
#define RENEW_MS 1000
#define FILL_POINTS 10000
#define RASTER_STEPS 600
#define RASTER_NEURONS 1200
#define GROWN_BYTES ((off_t)1 << 30)
#define ANSWER_MAX (256 * 1024)

struct worker {
    int fd;
    char head[300];
    char answer[ANSWER_MAX];
    cJSON *spec; /* of GET spec */
    uint64_t frame, step;
    int64_t renewed_ms;
    bool asked_to_stop;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "fake-worker: %s\n", what);
    exit(75); /* a machine's fault: tried again */
}

static void sleep_ms(int64_t ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    (void)nanosleep(&t, NULL);
}

/* ---- HTTP on one connection ----------------------------------------------------------------- */
static void open_socket(struct worker *w)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const char *server = getenv("SPIKED_SERVER");
    if (server == NULL || strncmp(server, "unix:", 5) != 0) die("SPIKED_SERVER");
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", server + 5);
    if (w->fd >= 0) (void)close(w->fd);
    w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd < 0 || connect(w->fd, (const void *)&a, sizeof a) != 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
}

static bool send_all(int fd, const void *data, size_t n)
{
    const char *at = data;
    while (n > 0) {
        const ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Status of the answer, whose body stands in w->answer; 0 = the connection broke. */
static int receive(struct worker *w)
{
    size_t length = 0, whole = 0;
    const char *body = NULL;
    while (whole == 0 || length < whole) {
        const ssize_t n = recv(w->fd, w->answer + length, sizeof w->answer - 1 - length, 0);
        if (n <= 0) return 0;
        length += (size_t)n;
        w->answer[length] = '\0';
        body = strstr(w->answer, "\r\n\r\n");
        const char *size = strcasestr(w->answer, "Content-Length:");
        if (body != NULL && size != NULL)
            whole = (size_t)(body + 4 - w->answer) + strtoull(size + 15, NULL, 10);
    }
    const int status = atoi(w->answer + 9);
    memmove(w->answer, body + 4, strlen(body + 4) + 1);
    return status;
}

/* Sends until it is answered, as the daemon may be away; false when the attempt is over. */
static bool call(struct worker *w, const char *method, const char *path, const char *type,
                 const void *body, size_t n)
{
    char head[600];
    const int length = snprintf(head, sizeof head,
                                "%s /worker/v1/%s HTTP/1.1\r\nHost: localhost\r\n%s"
                                "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                                method, path, w->head, type, n);
    for (int tries = 0; tries < 240; tries++) {
        if (w->fd < 0) open_socket(w);
        int status = 0;
        if (w->fd >= 0 && send_all(w->fd, head, (size_t)length) && send_all(w->fd, body, n))
            status = receive(w);
        if (status / 100 == 2) return true;
        if (status / 100 == 4 && status != 429) {
            (void)fprintf(stderr, "%s: %d %s\n", path, status, w->answer);
            return false;
        }
        if (status == 0 && w->fd >= 0) {
            (void)close(w->fd);
            w->fd = -1;
        }
        sleep_ms(250);
    }
    return false;
}

static bool say(struct worker *w, const char *path, const char *json)
{
    return call(w, "POST", path, "application/json", json, strlen(json));
}

static bool renew(struct worker *w)
{
    char text[160];
    if (clock_mono_ms() - w->renewed_ms < RENEW_MS) return true;
    w->renewed_ms = clock_mono_ms();
    (void)snprintf(text, sizeof text,
                   "{\"step\":%" PRIu64 ",\"batches\":%" PRIu64
                   ",\"epoch\":0,\"samples_per_s\":1000}",
                   w->step, w->step + (uint64_t)w->renewed_ms);
    if (!say(w, "renew", text)) return false;
    w->asked_to_stop = strstr(w->answer, "\"desired\":\"run\"") == NULL;
    return true;
}

/* ---- frames --------------------------------------------------------------------------------- */
/* The first series carries the moment of its making, for who measures the way to a watcher. */
static void put_step(struct worker *w, struct wire_buf *b, int64_t made_ns)
{
    static const char *const names[SERIES] = {
        "train/loss",    "train/accuracy", "train/lr", "train/grad_norm", "2/firing_rate",
        "4/firing_rate", "7/firing_rate",  "2/tau",    "sys/step_ms",     "sys/samples_per_s"
    };
    struct point points[SERIES];
    struct wire_series series[SERIES];
    struct err e = { 0 };
    w->step++;
    for (int i = 0; i < SERIES; i++) {
        const double value = i == 0 ? (double)made_ns : 1.0 / (double)(w->step + 1);
        points[i] = (struct point){ w->step, clock_wall_ms(), value };
        series[i] = (struct wire_series){ names[i], &points[i], 1 };
    }
    if (wire_put_points(b, ++w->frame, series, SERIES, &e) != 0) die(e.text);
}

static bool send_frames(struct worker *w, struct wire_buf *b)
{
    const bool ok = call(w, "POST", "frames", "application/x-spiked-frames", b->data, b->length);
    b->length = 0;
    return ok;
}

static bool steady(struct worker *w, double steps_per_s, double seconds)
{
    struct wire_buf b = { 0 };
    bool ok = true;
    const int64_t began_ns = clock_mono_ns();
    double elapsed_s = 0;
    while (ok && !w->asked_to_stop && elapsed_s < seconds) {
        elapsed_s = (double)(clock_mono_ns() - began_ns) * 1e-9;
        while ((double)w->step < elapsed_s * steps_per_s && b.length < WIRE_FRAME_BYTES_MAX - 2048)
            put_step(w, &b, began_ns + (int64_t)((double)w->step * 1e9 / steps_per_s));
        if (b.length > 0) ok = send_frames(w, &b);
        ok = ok && renew(w);
        sleep_ms(SEND_EVERY_MS);
    }
    wire_buf_deinit(&b);
    return ok;
}

static bool quick(struct worker *w, double steps)
{
    struct wire_buf b = { 0 };
    while ((double)w->step < steps) put_step(w, &b, clock_mono_ns());
    const bool ok = b.length == 0 || send_frames(w, &b);
    wire_buf_deinit(&b);
    return ok;
}

static bool fill(struct worker *w, double n)
{
    static struct point points[FILL_POINTS];
    struct wire_buf b = { 0 };
    bool ok = true;
    while (ok && (double)w->step < n) {
        struct err e = { 0 };
        for (int i = 0; i < FILL_POINTS; i++) {
            w->step++;
            points[i] = (struct point){ w->step, clock_wall_ms(), (double)(w->step % 977) };
        }
        const struct wire_series one = { "train/loss", points, FILL_POINTS };
        if (wire_put_points(&b, ++w->frame, &one, 1, &e) != 0) die(e.text);
        if (b.length + 250000 > WIRE_FRAME_BYTES_MAX || (double)w->step >= n)
            ok = send_frames(w, &b) && renew(w);
    }
    wire_buf_deinit(&b);
    return ok;
}

static bool raster(struct worker *w)
{
    static unsigned char bits[RASTER_STEPS * RASTER_NEURONS / 8];
    struct wire_buf b = { 0 };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof bits; i++) bits[i] = (unsigned char)(i * 31 + w->frame);
    struct record r = { .kind = RECORD_RASTER,
                        .layer = "2",
                        .step = ++w->step,
                        .time_ms = clock_wall_ms(),
                        .n_dims = 2,
                        .dims = { RASTER_STEPS, RASTER_NEURONS },
                        .encoding = RECORD_RAW,
                        .data = bits,
                        .data_bytes = sizeof bits };
    if (wire_put_record(&b, ++w->frame, &r, &e) != 0) die(e.text);
    const bool ok = send_frames(w, &b);
    wire_buf_deinit(&b);
    return ok;
}

static bool records(struct worker *w)
{
    struct stat st = { 0 };
    char *path = mem_printf("%s/../records.bin", json_get_string(w->spec, "dir", ""));
    bool ok = raster(w);
    while (ok && !w->asked_to_stop && (stat(path, &st) != 0 || st.st_size < GROWN_BYTES)) {
        sleep_ms(20);
        ok = renew(w);
    }
    mem_free(path);
    return ok && raster(w);
}

static bool wait_for_the_end(struct worker *w)
{
    bool ok = true;
    while (ok && !w->asked_to_stop) {
        ok = renew(w);
        sleep_ms(50);
    }
    return ok;
}

/* ---- the attempt ---------------------------------------------------------------------------- */
static bool work(struct worker *w)
{
    const char *name = json_get_string(json_get(w->spec, "spec"), "name", "");
    double a = 0, b = 0;
    if (sscanf(name, "quick %lf", &a) == 1) return quick(w, a);
    if (sscanf(name, "steady %lf %lf", &a, &b) == 2) return steady(w, a, b);
    if (sscanf(name, "fill %lf", &a) == 1) return fill(w, a);
    if (strcmp(name, "records") == 0) return records(w);
    if (strcmp(name, "sleep") == 0) return wait_for_the_end(w);
    die("the experiment's name says nothing to do");
    return false;
}

static void finish(struct worker *w)
{
    char text[160];
    const bool cancel = strstr(w->answer, "\"cancel\"") != NULL;
    (void)snprintf(text, sizeof text,
                   "{\"status\":\"%s\",\"step\":%" PRIu64
                   ",\"epoch\":1,\"summary\":{\"steps\":%" PRIu64 "}}",
                   !w->asked_to_stop ? "succeeded"
                   : cancel          ? "cancelled"
                                     : "paused",
                   w->step, w->step);
    (void)say(w, "finish", text);
}

int main(void)
{
    static struct worker w = { .fd = -1 };
    struct err e = { 0 };
    char hello[200];
    (void)printf("started %" PRId64 "\n", clock_mono_ns());
    (void)fflush(stdout);
    const char *experiment = getenv("SPIKED_EXPERIMENT"), *attempt = getenv("SPIKED_ATTEMPT"),
               *secret = getenv("SPIKED_SECRET");
    if (experiment == NULL || attempt == NULL || secret == NULL) die("no attempt");
    (void)snprintf(w.head, sizeof w.head,
                   "Authorization: Bearer %s\r\nX-Spiked-Experiment: %s\r\n"
                   "X-Spiked-Attempt: %s\r\n",
                   secret, experiment, attempt);
    if (!call(&w, "GET", "spec", "application/json", "", 0) ||
        json_parse(w.answer, strlen(w.answer), &w.spec, &e) != 0)
        return 75;
    (void)snprintf(hello, sizeof hello,
                   "{\"protocol\":%d,\"build\":\"fake\",\"host\":\"here\","
                   "\"pid\":%d,\"resume_step\":0,\"steps_total\":1000,"
                   "\"epochs\":1}",
                   WIRE_PROTOCOL, (int)getpid());
    if (!say(&w, "hello", hello) || !work(&w)) return 75;
    finish(&w);
    cJSON_Delete(w.spec);
    return 0;
}
