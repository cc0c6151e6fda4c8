/* serve_options: what `spiked serve` takes from flags, environment (SPIKED_*), file and defaults,
 * in that order. Main thread, once. */
#ifndef SERVER_SERVE_OPTIONS_H
#define SERVER_SERVE_OPTIONS_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>

struct serve_options {
    char *listen;         /* ADDRESS:PORT; "off" = none */
    char *socket;         /* NULL = STATE/api.sock */
    char *state_dir, *data_dir, *files_dir, *worker_program, *workers_cgroup, *hosts, *config;
    char *tls_cert, *tls_key; /* both or none */
    int64_t max_running, running_per_user_max, queued_per_user_max, backoff_first_ms,
        start_timeout_s, keep_deleted_days, keep_ended_days, disk_low_percent, disk_full_percent,
        disk_check_s;
    int64_t submit_rate, submit_burst;
    int workers;          /* 0 keep, 1 stop */
    int local_admin;      /* 0 own: root and the daemon's account; 1 root alone */
    int log_level;        /* index of debug|info|warn|error */
    bool insecure_http;
    /* From listen: */
    char address[64];
    int port;             /* 0 = none */
};
/* Paths are made absolute and their folders exist afterwards. Errors: ERR_INVALID, ERR_IO,
 * ERR_NOMEM. */
int serve_options_load(struct serve_options *o, int argc, char **argv, struct err *e);
void serve_options_help(void);
void serve_options_deinit(struct serve_options *o); /* safe on zeroed options and when repeated */

#endif
