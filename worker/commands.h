/* commands: the subcommands of spiked-worker. Each takes its arguments (argv[0] = its name), prints
 * errors itself through *e and returns 0 or an err code. Main thread. */
#ifndef WORKER_COMMANDS_H
#define WORKER_COMMANDS_H

#include "common/config.h"
#include "common/err.h"
#include "common/spec.h"

int command_train(int argc, char **argv, struct err *e);
int command_eval(int argc, char **argv, struct err *e);
int command_plan(int argc, char **argv, struct err *e);
int command_bench(int argc, char **argv, struct err *e);
int command_check_golden(int argc, char **argv, struct err *e);
int command_attempt(int argc, char **argv, struct err *e);

/* Reads and checks a spec file; faults go to stderr, one a line, "pointer: what is wrong". */
int command_load_spec(const char *path, struct spec *out, struct err *e);
/* The same for samples of `input`, "CxHxW", of so many classes, in time like the dataset's; the
 * spec may leave the dataset out. data is filled and must live as long as out. */
int command_load_spec_for(const char *path, const char *input, int64_t classes,
                          struct spec_dataset_info *data, struct spec *out, struct err *e);
/* A row of an option table, and what it holds (char *) instead of the spec's mode; NULL: it was not
 * given. */
#define COMMAND_STEP_MODE(at)                                                                      \
    { "step-mode", CONFIG_STRING, at, .metavar = "MODE",                                           \
      .help = "multi, single or chunk:N instead of the spec's" }
int command_step_mode(const char *text, struct spec *s, struct err *e);
/* Set by SIGINT and SIGTERM once command_catch_signals was called. */
void command_catch_signals(void);
int command_stop_requested(void);

#endif
