/* serve: see serve.h. */
#include "server/serve.h"

#include "build_id.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/api/api.h"
#include "server/backup/backup_folder.h"
#include "server/launcher/launcher.h"
#include "server/notify.h"
#include "server/serve_tls.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define POOL_THREADS "8" /* SQLite readers and file reads */
#define HOSTS_MAX 16
#define FILES_MAX 8192
#define OVERDUE_MS 4000       /* from the signal to the end: less than 5 s, whatever hangs */
#define STOP_WORKERS_MS 10000 /* the most that --workers stop adds to it */

struct daemon {
    const struct serve_options *o;
    uv_loop_t loop;
    struct launcher *launcher;
    struct sse_hub *hub;
    struct queue *queue;
    struct http *http;
    struct serve_tls *tls; /* NULL: plain http */
    struct api api;
    uv_signal_t term, intr;
    struct loop_lag lag;
    struct notify notify;
    uv_timer_t overdue;
    char *hosts;
    char own_hosts[4][256];
    bool stopping;
};

/* ---- closing: people's streams, workers' messages, connections, processes -------------------- */
static void launcher_closed(void *ctx) { (void)ctx; }

static void hub_closed(void *ctx)
{
    struct daemon *d = ctx;
    d->launcher->ops->close(d->launcher, launcher_closed, d);
    accounts_close(d->api.accounts);
    uv_close((uv_handle_t *)&d->term, NULL);
    uv_close((uv_handle_t *)&d->intr, NULL);
    serve_tls_close(d->tls);
    loop_lag_close(&d->lag);
    notify_close(&d->notify);
}

static void http_closed(void *ctx)
{
    struct daemon *d = ctx;
    sse_hub_close(d->hub, hub_closed, d);
}

static void queue_quiet(void *ctx)
{
    struct daemon *d = ctx;
    d->api.stopping = true;
    api_backup_stop(&d->api);
    accounts_stop(d->api.accounts);
    http_refuse(d->http);
}

static void queue_closed(void *ctx)
{
    struct daemon *d = ctx;
    audit_close(d->api.audit);
    d->api.audit = NULL;
    d->queue = NULL;
    http_close(d->http, http_closed, d);
}

/* Something that was under way does not come to its end: a read from a disk that hangs cannot be
 * broken off, and its thread would be waited for. All writes are done, or are finished here. */
static void on_overdue(uv_timer_t *t)
{
    struct daemon *d = t->data;
    if (d->queue != NULL) queue_finish_writes(d->queue);
    log_warn("server", "stopped while something still read from disk");
    _exit(0); /* tidy: overdue */
}

static void on_signal(uv_signal_t *s, int number)
{
    struct daemon *d = s->data;
    if (d->stopping) _exit(128 + number); /* tidy: asked twice */
    d->stopping = true;
    log_info("server", "stopping: signal %d", number);
    notify_stopping(&d->notify);
    (void)uv_timer_start(&d->overdue, on_overdue,
                         OVERDUE_MS + (d->o->workers == 1 ? STOP_WORKERS_MS : 0), 0);
    sse_hub_end(d->hub);
    http_kick(d->http);
    queue_close(d->queue, queue_quiet, queue_closed, d);
}

/* ---- opening --------------------------------------------------------------------------------- */
static void fill_hosts(struct daemon *d, const char *out[HOSTS_MAX])
{
    size_t n = 0;
    (void)snprintf(d->own_hosts[0], sizeof d->own_hosts[0], "%s", d->api.host);
    (void)snprintf(d->own_hosts[1], sizeof d->own_hosts[1],
                   strchr(d->o->address, ':') != NULL ? "[%s]" : "%s", d->o->address);
    out[n++] = "localhost";
    out[n++] = "127.0.0.1";
    out[n++] = "[::1]";
    out[n++] = d->own_hosts[0];
    out[n++] = d->own_hosts[1];
    d->hosts = mem_strdup(d->o->hosts != NULL ? d->o->hosts : "");
    char *rest = d->hosts;
    for (char *name; n < HOSTS_MAX - 1 && rest != NULL && (name = strsep(&rest, ",")) != NULL;)
        if (name[0] != '\0') out[n++] = name;
    out[n] = NULL;
}

static int open_http(struct daemon *d, struct err *e)
{
    struct http_options o = { .routes = api_routes,
                              .n_routes = api_routes_count,
                              .app = &d->api,
                              .admit = api_admit,
                              .refused = api_refused,
                              .answered = api_answered };
    o.limits.submissions_per_s = d->o->submit_rate;
    o.limits.submissions_burst = d->o->submit_burst;
    fill_hosts(d, o.allowed_hosts);
    return http_create(&d->http, &d->loop, &o, e);
}

static int listen_all(struct daemon *d, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/worker.sock", d->o->state_dir);
    int rc = http_listen_unix(d->http, path, 0600, true, e);
    if (rc == 0) rc = http_listen_unix(d->http, d->o->socket, 0666, false, e);
    const bool tls = d->o->tls_cert != NULL;
    if (rc == 0 && tls) rc = serve_tls_open(&d->tls, &d->loop, d->o->tls_cert, d->o->tls_key, e);
    if (rc == 0 && d->o->port != 0)
        rc = http_listen_tcp(d->http, d->o->address, d->o->port, tls, e);
    return rc;
}

static int open_queue(struct daemon *d, struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/worker.sock", d->o->state_dir);
    const struct queue_options o = { .state_dir = d->o->state_dir,
                                     .files_dir = d->o->files_dir,
                                     .data_dir = d->o->data_dir,
                                     .worker_program = d->o->worker_program,
                                     .worker_socket = path,
                                     .max_running = d->o->max_running,
                                     .running_per_user_max = d->o->running_per_user_max,
                                     .queued_per_user_max = d->o->queued_per_user_max,
                                     .start_timeout_s = d->o->start_timeout_s,
                                     .disk_low_percent = d->o->disk_low_percent,
                                     .disk_full_percent = d->o->disk_full_percent,
                                     .disk_check_s = d->o->disk_check_s,
                                     .keep_deleted_s = 86400 * d->o->keep_deleted_days,
                                     .keep_ended_s = 86400 * d->o->keep_ended_days,
                                     .backoff_first_ms = d->o->backoff_first_ms,
                                     .stop_workers = d->o->workers == 1 };
    const struct queue_observer observer = { d->hub, sse_hub_publish, sse_hub_points };
    return queue_open(&d->queue, &d->loop, &o, d->launcher, observer, e);
}

static bool still_let_in(void *ctx, const struct identity *who) { return accounts_still(ctx, who); }

static void on_access_ended(void *ctx)
{
    struct daemon *d = ctx;
    sse_hub_check(d->hub, still_let_in, d->api.accounts);
}

static int open_accounts(struct daemon *d, struct err *e)
{
    struct store *s = queue_store(d->queue);
    const uid_t admin = d->o->local_admin == 0 ? geteuid() : 0;
    const int rc = accounts_open(&d->api.accounts, &d->loop, s, admin, on_access_ended, d, e);
    return rc != 0 ? rc : audit_open(&d->api.audit, s, e);
}

static void tell_status(void *ctx, char *out, size_t size)
{
    const struct daemon *d = ctx;
    if (d->queue == NULL || d->stopping) {
        (void)snprintf(out, size, "stopping");
        return;
    }
    const struct queue_stats q = queue_stats_of(d->queue);
    (void)snprintf(out, size, "%lld of %lld slots busy, %lld queued", (long long)q.slots_busy,
                   (long long)q.slots, (long long)q.states[STATE_QUEUED]);
}

static void watch_signals(struct daemon *d)
{
    (void)uv_timer_init(&d->loop, &d->overdue);
    d->overdue.data = d;
    uv_unref((uv_handle_t *)&d->overdue); /* nobody waits for it */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)uv_signal_init(&d->loop, &d->term);
    (void)uv_signal_init(&d->loop, &d->intr);
    d->term.data = d->intr.data = d;
    (void)uv_signal_start(&d->term, on_signal, SIGTERM);
    (void)uv_signal_start(&d->intr, on_signal, SIGINT);
}

/* Connections, streams, databases and workers' files need more than the usual 1024. */
static void raise_files_max(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    if (files.rlim_cur < FILES_MAX) {
        files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < FILES_MAX)
        log_warn("server", "%llu open files are allowed, %d are needed for all connections at once",
                 (unsigned long long)files.rlim_cur, FILES_MAX);
}

/* The queue takes the lock of the state directory: everything that writes there comes after it. */
static int open_all(struct daemon *d, struct err *e)
{
    int rc = local_launcher_create(&d->launcher, &d->loop, d->o->workers_cgroup, d->o->state_dir,
                                   e);
    if (rc == 0) rc = sse_hub_create(&d->hub, &d->loop, &d->http, d->o->state_dir, e);
    if (rc == 0) rc = open_http(d, e);
    if (rc == 0) rc = open_queue(d, e);
    if (rc == 0) rc = open_accounts(d, e);
    if (rc != 0) return rc;
    d->api.queue = d->queue;
    d->api.hub = d->hub;
    backup_folder_remove(d->o->state_dir);
    return listen_all(d, e);
}

int serve(const struct serve_options *o, struct err *e)
{
    struct daemon *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return err_set(e, ERR_NOMEM, "daemon");
    (void)setenv("UV_THREADPOOL_SIZE", POOL_THREADS, 0);
    (void)umask(0077);
    raise_files_max();
    (void)uv_loop_init(&d->loop);
    d->o = o;
    d->api = (struct api){ .loop = &d->loop,
                           .data_dir = o->data_dir,
                           .state_dir = o->state_dir,
                           .files_dir = o->files_dir,
                           .port = o->port,
                           .lag = &d->lag,
                           .started_ms = clock_wall_ms() };
    digest_cache_init(&d->api.digests);
    (void)gethostname(d->api.host, sizeof d->api.host - 1);
    int rc = open_all(d, e);
    if (rc != 0) return rc; /* the process ends: the kernel takes sockets and files back */
    watch_signals(d);
    loop_lag_start(&d->lag, &d->loop);
    notify_begin(&d->notify, &d->loop, tell_status, d);
    log_info("server", "spiked %s (%s) serves %s%s, state %s, %lld slots", SPIKED_VERSION,
             SPIKED_BUILD, o->port != 0 ? "http://" : "", o->port != 0 ? o->listen : o->socket,
             o->state_dir, (long long)o->max_running);
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&d->overdue, NULL);
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&d->loop);
    log_info("server", "stopped");
    digest_cache_deinit(&d->api.digests);
    mem_free(d->hosts);
    mem_free(d);
    return 0;
}
