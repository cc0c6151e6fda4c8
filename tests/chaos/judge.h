/* judge: decides after a fault campaign whether anything was lost, doubled or changed. A program of
 * its own: it shares nothing with the daemon but the public API, and knows of the campaign only
 *   client.log   what the client sent and what was acknowledged:
 *                  sent KEY SPEC | acked KEY ID UID | asked ID (to cancel) | cancelled ID (answered
 *                  as such)
 *   alive.log    what `judge watch` saw of worker processes, every 20 ms:
 *                  began MS EXPERIMENT ATTEMPT PID | ended MS EXPERIMENT ATTEMPT PID | samples N
 *   api/         what `judge collect` read from the daemon when all was over
 *   the folders of the attempts, and SPEC/ of every spec as `spiked-worker train` left it.
 * KEY is both the Idempotency-Key and the experiment's name. */
#ifndef TESTS_JUDGE_H
#define TESTS_JUDGE_H

#include <stdint.h>

#define JUDGE_WORD_MAX 128

/* An experiment as the API shows it, and a line of api/experiments.txt. */
struct judged {
    int64_t id, attempt;
    char uid[JUDGE_WORD_MAX], name[JUDGE_WORD_MAX], state[JUDGE_WORD_MAX];
};

/* Writes down when workers of the state directory were alive, until SIGTERM. 0, or 2 on failure. */
int judge_watch(const char *state_dir, const char *log_path);
/* Reads everything that is judged from the daemon at base into evidence/api. 0 or 2. */
int judge_collect(const char *base, const char *evidence);
/* Prints "fault KIND ..." for each fault and one line of what was looked at. 0 = none, 1 = faults,
 * 2 = cannot judge. */
int judge_verdict(const char *evidence, const char *files_dir, const char *undisturbed);

/* ---- of the verdict (judge_points.c) --------------------------------------------------------- */
/* Prints a fault and counts it. */
void judge_fault(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Every series of an experiment against the undisturbed run's metrics.ndjson; an experiment that
 * was cancelled has the beginning of it. Returns points compared, -1 = a file cannot be read. */
int64_t judge_points(const char *api_dir, const struct judged *x, const char *undisturbed);

#endif
