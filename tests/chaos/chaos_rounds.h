/* chaos_rounds: what is done to a daemon and its workers in one round of a fault campaign. */
#ifndef TESTS_CHAOS_ROUNDS_H
#define TESTS_CHAOS_ROUNDS_H

#include "common/crash.h"
#include "tests/chaos/chaos_client.h"
#include "tests/chaos/faults.h"

#include <limits.h>

/* Rounds below CRASH_POINT_COUNT arm that crash point; the others: */
enum round_kind {
    ROUND_KILL_DAEMON = CRASH_POINT_COUNT,
    ROUND_KILL_WORKER,
    ROUND_KILL_BOTH,
    ROUND_STOP_DAEMON, /* SIGTERM: it must end in order */
    ROUND_STOP_WORKER, /* SIGTERM: checkpoint, and again from there */
    ROUND_LOSE_ANSWERS,
    ROUND_FULL_DISK,
    ROUND_CLOCK_JUMP,
    ROUND_HALT_WORKER, /* SIGSTOP past its lease */
    ROUND_KINDS
};
#define ROUND_OTHERS (ROUND_KINDS - CRASH_POINT_COUNT)
const char *round_name(int kind);

struct chaos {
    int64_t sweep_again_ms; /* monotonic: when a round that needs one makes another sweep */
    struct service s;
    struct chaos_client client;
    struct faults *faults; /* mapped; shared with daemon and workers */
    uint32_t random;
    char crash_env[80], log_env[200], faults_env[200], preload_env[PATH_MAX + 20];
    char crash_log[160];
    int64_t kills; /* by this test */
};
/* Makes the folder of a season, with its fault file and logs; starts nothing. */
void chaos_open(struct chaos *c, int season, uint32_t seed);
void chaos_close(struct chaos *c);
/* How often processes died at each point, added to hits. */
void chaos_hits(const struct chaos *c, int64_t hits[CRASH_POINT_COUNT]);
/* One round; the daemon runs undisturbed when it returns. false: the armed point was not hit. */
bool chaos_round(struct chaos *c, int kind);
/* Takes all faults away and waits until every experiment has ended; false after `seconds`. */
bool chaos_drain(struct chaos *c, int seconds);

#endif
