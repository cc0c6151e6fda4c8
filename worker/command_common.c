/* command_common: what the subcommands share: the spec file, and the signals that ask to stop. See
 * commands.h. Main thread. */
#include "common/mem.h"
#include "worker/commands.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stop_signal;
static void on_signal(int number) { stop_signal = number; }

void command_catch_signals(void)
{
    struct sigaction act = { .sa_handler = on_signal };
    (void)sigemptyset(&act.sa_mask);
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
}

int command_stop_requested(void) { return stop_signal; }

/* Whole file into memory, at most one byte more than a spec may have. */
static char *read_text(const char *path, size_t *length, struct err *e)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        (void)err_errno(e, errno, "%.150s", path);
        return NULL;
    }
    char *text = mem_alloc(SPEC_BYTES_MAX + 1);
    if (text != NULL) *length = fread(text, 1, SPEC_BYTES_MAX + 1, f);
    else (void)err_set(e, ERR_NOMEM, "%.150s", path);
    (void)fclose(f);
    return text;
}

int command_load_spec(const char *path, struct spec *out, struct err *e)
{
    size_t length = 0;
    char *text = read_text(path, &length, e);
    if (text == NULL) return (int)e->code;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    int rc = faults == NULL ? err_set(e, ERR_NOMEM, "faults")
                            : spec_parse_text(text, length, out, faults, e);
    for (size_t i = 0; rc != 0 && faults != NULL && i < faults->count; i++)
        (void)fprintf(stderr, "%s: %s: %s\n", path, faults->items[i].pointer,
                      faults->items[i].detail);
    mem_free(faults);
    mem_free(text);
    return rc != 0 ? err_wrap(e, "%.100s", path) : 0;
}

int command_step_mode(const char *text, struct spec *s, struct err *e)
{
    return text == NULL ? 0 : spec_read_step_mode(text, &s->train, e);
}
