/* config: one table of options; each row makes its flag, environment variable, line in a
 * configuration file and --help text. Used once at start, main thread. */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_type { CONFIG_STRING, CONFIG_INT, CONFIG_SIZE, CONFIG_BOOL, CONFIG_CHOICE };

/* `name` is "state-dir": flag --state-dir, variable PREFIX_STATE_DIR, file key state_dir.
 * The value is stored at offset `at` of the options struct: char * (owned, mem_free), int64_t,
 * size_t, bool, or int (index of the choice). */
struct config_row {
    const char *name;
    enum config_type type;
    size_t at;
    const char *fallback;    /* text of the default; NULL = no default, string stays NULL */
    int64_t min, max;        /* for INT and SIZE; SIZE text may end in K, M or G */
    const char *choices;     /* "keep|stop" */
    const char *metavar;     /* "DIR" */
    const char *help;
};

/* Order of strength: flag, environment, file, default. Positional arguments are left in argv[1..]
 * (argc is updated). Errors: ERR_INVALID naming flag, value and what is allowed (all unknown flags
 * get "did you mean"). */
int config_load(const struct config_row *rows, size_t n_rows, const char *env_prefix,
                const char *file_path, int *argc, char **argv, void *options, struct err *e);
void config_help(const struct config_row *rows, size_t n_rows, FILE *out);
void config_deinit(const struct config_row *rows, size_t n_rows, void *options);

#endif
