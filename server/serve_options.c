/* serve_options: see serve_options.h. */
#include "server/serve_options.h"

#include "common/config.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT(member) offsetof(struct serve_options, member)
static const struct config_row rows[] = {
    { "listen", CONFIG_STRING, AT(listen), "127.0.0.1:8080", 0, 0, NULL, "ADDR:PORT",
      "where people reach the page and the API; off = only the socket" },
    { "socket", CONFIG_STRING, AT(socket), NULL, 0, 0, NULL, "PATH",
      "unix socket of the API; default STATE/api.sock" },
    { "state-dir", CONFIG_STRING, AT(state_dir), "state", 0, 0, NULL, "DIR",
      "databases; a local file system" },
    { "data-dir", CONFIG_STRING, AT(data_dir), "data", 0, 0, NULL, "DIR",
      "one folder for each dataset" },
    { "files-dir", CONFIG_STRING, AT(files_dir), NULL, 0, 0, NULL, "DIR",
      "logs, checkpoints, weights; default STATE/files" },
    { "max-running", CONFIG_INT, AT(max_running), NULL, 0, 1024, NULL, "N",
      "workers at once; 0 = half the processors (default)" },
    { "max-running-per-user", CONFIG_INT, AT(running_per_user_max), "0", 0, 1024, NULL, "N",
      "0 = no limit" },
    { "max-queued-per-user", CONFIG_INT, AT(queued_per_user_max), "10000", 1, 1000000, NULL, "N",
      "further experiments are refused (429)" },
    { "submit-rate", CONFIG_INT, AT(submit_rate), "100", 1, 100000, NULL, "N",
      "submissions a second of one user; further ones are refused (429)" },
    { "submit-burst", CONFIG_INT, AT(submit_burst), "1000", 1, 1000000, NULL, "N",
      "submissions of one user at once" },
    { "retry-delay-ms", CONFIG_INT, AT(backoff_first_ms), "10000", 0, 600000, NULL, "MS",
      "wait after an attempt's first fault; doubles up to 10 minutes" },
    { "start-timeout-s", CONFIG_INT, AT(start_timeout_s), "600", 1, 86400, NULL, "S",
      "a worker that has not loaded its data by then is killed and tried again" },
    { "keep-deleted-days", CONFIG_INT, AT(keep_deleted_days), "30", 0, 36500, NULL, "DAYS",
      "a deleted experiment can be taken back for so long" },
    { "keep-ended-days", CONFIG_INT, AT(keep_ended_days), "0", 0, 36500, NULL, "DAYS",
      "what ended longer ago is deleted by itself; 0 = never" },
    { "disk-low-percent", CONFIG_INT, AT(disk_low_percent), "5", 0, 99, NULL, "N",
      "with less of the disk free nothing is taken or started; 0 = no floor" },
    { "disk-full-percent", CONFIG_INT, AT(disk_full_percent), "1", 0, 99, NULL, "N",
      "with less workers keep their points, too; 0 = no floor" },
    { "disk-check-s", CONFIG_INT, AT(disk_check_s), "10", 1, 3600, NULL, "S",
      "between two looks at that" },
    { "workers", CONFIG_CHOICE, AT(workers), "keep", 0, 0, "keep|stop", "keep|stop",
      "when the daemon ends: let workers train on, or checkpoint and stop them" },
    { "worker-program", CONFIG_STRING, AT(worker_program), NULL, 0, 0, NULL, "PATH",
      "default: spiked-worker beside this program" },
    { "workers-cgroup", CONFIG_STRING, AT(workers_cgroup), NULL, 0, 0, NULL, "DIR",
      "delegated cgroup v2 folder that holds workers to memory_mib; without it RLIMIT_DATA does" },
    { "hosts", CONFIG_STRING, AT(hosts), NULL, 0, 0, NULL, "NAME,NAME",
      "further names that may stand in the Host header" },
    { "local-admin", CONFIG_CHOICE, AT(local_admin), "own", 0, 0, "own|root", "own|root",
      "admin on this machine without a token: root and the daemon's own account, or root alone" },
    { "tls-cert", CONFIG_STRING, AT(tls_cert), NULL, 0, 0, NULL, "FILE",
      "certificate (PEM, with its chain): --listen speaks https; read again at SIGHUP" },
    { "tls-key", CONFIG_STRING, AT(tls_key), NULL, 0, 0, NULL, "FILE", "its key (PEM)" },
    { "insecure-http", CONFIG_BOOL, AT(insecure_http), "false", 0, 0, NULL, NULL,
      "allow --listen beyond this machine without TLS" },
    { "log-level", CONFIG_CHOICE, AT(log_level), "info", 0, 0, "debug|info|warn|error", "LEVEL",
      "of standard error" },
    { "config", CONFIG_STRING, AT(config), NULL, 0, 0, NULL, "FILE",
      "lines `name = value`, names with _ for -" },
};
#define ROWS (sizeof rows / sizeof rows[0])

void serve_options_help(void) { config_help(rows, ROWS, stdout); }
void serve_options_deinit(struct serve_options *o) { config_deinit(rows, ROWS, o); }

/* --config is read before the file it names. */
static const char *find_config(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) return argv[i] + 9;
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) return argv[i + 1];
    }
    return getenv("SPIKED_CONFIG");
}

static int split_listen(struct serve_options *o, struct err *e)
{
    if (strcmp(o->listen, "off") == 0) return 0;
    const char *colon = strrchr(o->listen, ':');
    char *end = NULL;
    const long port = colon != NULL ? strtol(colon + 1, &end, 10) : 0;
    if (colon == NULL || *end != '\0' || port < 1 || port > 65535)
        return err_set(e, ERR_INVALID, "--listen must be ADDRESS:PORT, got '%.80s'", o->listen);
    const char *from = o->listen;
    size_t n = (size_t)(colon - from);
    if (n > 2 && from[0] == '[' && colon[-1] == ']') {
        from++;
        n -= 2;
    }
    (void)snprintf(o->address, sizeof o->address, "%.*s", (int)(n < 63 ? n : 63), from);
    o->port = (int)port;
    struct in_addr four;
    struct in6_addr six;
    const bool is_four = inet_pton(AF_INET, o->address, &four) == 1;
    if (!is_four && inet_pton(AF_INET6, o->address, &six) != 1)
        return err_set(e, ERR_INVALID, "--listen: '%s' is not an IP address", o->address);
    const bool loopback = is_four ? ntohl(four.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&six);
    if (loopback || o->insecure_http || o->tls_cert != NULL) return 0;
    return err_set(
        e, ERR_INVALID,
        "--listen %.80s is reachable from other machines and has no TLS; give --tls-cert and "
        "--tls-key, or --insecure-http to accept that, or listen on 127.0.0.1 behind a tunnel or "
        "proxy",
        o->listen);
}

static int make_folders(const char *path, struct err *e)
{
    char part[PATH_MAX];
    (void)snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL) *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return err_errno(e, errno, "folder %.150s", part);
        if (slash == NULL) return 0;
        *slash = '/';
    }
}

/* Workers run elsewhere: every path they are given must be absolute. */
static int absolute_folder(char **path, struct err *e)
{
    char real[PATH_MAX];
    int rc = make_folders(*path, e);
    if (rc != 0) return rc;
    if (realpath(*path, real) == NULL) return err_errno(e, errno, "folder %.150s", *path);
    char *copy = mem_strdup(real);
    if (copy == NULL) return err_set(e, ERR_NOMEM, "path");
    mem_free(*path);
    *path = copy;
    return 0;
}

static int default_path(char **path, const char *folder, const char *name, struct err *e)
{
    if (*path == NULL) *path = mem_printf("%s/%s", folder, name);
    return *path != NULL ? 0 : err_set(e, ERR_NOMEM, "path");
}

static int find_worker(struct serve_options *o, struct err *e)
{
    char self[PATH_MAX];
    if (o->worker_program == NULL) {
        const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0) return err_errno(e, errno, "/proc/self/exe");
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        int rc = default_path(&o->worker_program, self, "spiked-worker", e);
        if (rc != 0) return rc;
    }
    if (realpath(o->worker_program, self) == NULL || access(self, X_OK) != 0)
        return err_errno(e, errno, "--worker-program %.150s", o->worker_program);
    mem_free(o->worker_program);
    o->worker_program = mem_strdup(self);
    return o->worker_program != NULL ? 0 : err_set(e, ERR_NOMEM, "path");
}

int serve_options_load(struct serve_options *o, int argc, char **argv, struct err *e)
{
    int rc = config_load(rows, ROWS, "SPIKED", find_config(argc, argv), &argc, argv, o, e);
    if (rc == 0 && argc > 1) rc = err_set(e, ERR_INVALID, "'%.80s' is not expected here", argv[1]);
    if (rc == 0 && (o->tls_cert == NULL) != (o->tls_key == NULL))
        rc = err_set(e, ERR_INVALID, "--tls-cert and --tls-key are given together or not at all");
    if (rc == 0) rc = split_listen(o, e);
    if (rc == 0) rc = absolute_folder(&o->state_dir, e);
    if (rc == 0) rc = absolute_folder(&o->data_dir, e);
    if (rc == 0) rc = default_path(&o->files_dir, o->state_dir, "files", e);
    if (rc == 0) rc = absolute_folder(&o->files_dir, e);
    if (rc == 0) rc = default_path(&o->socket, o->state_dir, "api.sock", e);
    if (rc == 0) rc = find_worker(o, e);
    if (rc == 0 && o->max_running == 0) {
        const long processors = sysconf(_SC_NPROCESSORS_ONLN);
        o->max_running = processors > 3 ? processors / 2 : 1;
    }
    return rc;
}
