/* reporter: tells the daemon about an attempt from threads of its own, so that training never waits
 * for it: one thread sends the spool, one renews the lease and hears pause and cancel. */
#ifndef WORKER_REPORTER_H
#define WORKER_REPORTER_H

#include "worker/report/client.h"
#include "worker/report/spool.h"
#include "worker/train/output.h"

#include <stdatomic.h>

struct reporter {
    struct client *frames, *renewals; /* borrowed */
    struct spool *spool;              /* borrowed */
    pthread_t sender, renewer;
    bool renewing, sending; /* threads that run */
    atomic_bool stop;
    atomic_int desired;               /* enum experiment_desired */
    atomic_bool lost;                 /* a newer attempt owns the experiment: stop at once */
    int64_t renew_ms;
    int (*stop_requested)(void);      /* a signal asked this process to stop */
    pthread_mutex_t lock;             /* of progress and steps_known */
    struct train_progress progress;
    bool steps_known; /* progress was told; not while data are loaded */
};
/* Starts the renewing thread, before there is anything to send: loading may take long.
 * Errors: ERR_NOMEM, ERR_IO. */
int reporter_renew(struct reporter *r, struct client *renewals, int64_t renew_ms,
                   int (*stop_requested)(void), struct err *e);
/* After reporter_renew: starts the sending thread. Errors: ERR_NOMEM,
 * ERR_IO. */
int reporter_send(struct reporter *r, struct client *frames, struct spool *spool, struct err *e);
/* Waits until everything is acknowledged or timeout_ms passed, then ends the threads there are;
 * whether everything is. Safe on a zeroed reporter and when repeated. */
bool reporter_stop(struct reporter *r, int64_t timeout_ms);
/* The trainer's output; also asks to pause when `stop_requested` says so. */
struct output reporter_output(struct reporter *r);

#endif
