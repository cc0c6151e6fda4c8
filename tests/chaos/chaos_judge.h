/* chaos_judge: runs the judge and the undisturbed trainings, as programs, for stories. */
#ifndef TESTS_CHAOS_JUDGE_H
#define TESTS_CHAOS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts argv; its output goes to the file, to nowhere ("/dev/null") or, NULL, stays ours. */
pid_t program_start(const char *const argv[], const char *output);
int program_end(pid_t pid); /* waits; the exit code, -1 = a signal */

/* Trains the client's specs first .. end - 1 in a fresh folder, out/NAME each, as anybody would by
 * hand. */
void judge_undisturbed(char *folder, size_t size, size_t first, size_t end);
void judge_forget(const char *folder); /* removes it */
/* Watches workers of folder/state until it is ended; writes folder/alive.log. */
pid_t judge_watch_begin(const char *folder);
void judge_watch_end(pid_t watcher);
/* Reads what is judged from the daemon at base into folder/api. */
void judge_collect_from(const char *base, const char *folder);
/* Judges the evidence of folder about experiments whose files lie in files_dir; the exit code.
 * output as for program_start. */
int judge_decide(const char *folder, const char *files_dir, const char *undisturbed,
                 const char *output);

#endif
