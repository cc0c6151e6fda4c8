/* command_common: what the subcommands share: the spec file, and the signals that ask to stop. See
 * commands.h. Main thread. */
#include "common/mem.h"
#include "worker/commands.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define SAMPLE_MAX 65536 /* largest side of --input */

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

/* Faults go to stderr; e then names the file. */
static int told(const char *path, int rc, const struct json_faults *faults, struct err *e)
{
    for (size_t i = 0; rc != 0 && i < faults->count; i++)
        (void)fprintf(stderr, "%s: %s: %s\n", path, faults->items[i].pointer,
                      faults->items[i].detail);
    return rc != 0 ? err_wrap(e, "%.100s", path) : 0;
}

static int read_shape(const char *text, struct spec_shape *out, struct err *e)
{
    int64_t *const sizes[] = { &out->c, &out->h, &out->w };
    const char *at = text;
    for (size_t i = 0; i < 3; i++) {
        char *end = NULL;
        *sizes[i] = isdigit((unsigned char)*at) ? strtoll(at, &end, 10) : 0;
        if (*sizes[i] < 1 || *sizes[i] > SAMPLE_MAX || *end != (i < 2 ? 'x' : '\0'))
            return err_set(e, ERR_INVALID, "--input %.40s: must be CxHxW, as 2x128x128, each from "
                           "1 to %d", text, SAMPLE_MAX);
        at = end + 1;
    }
    return 0;
}

/* What the spec says of its dataset, but for the shape; a spec without one gets one. */
static int stand_in(cJSON *json, struct spec_dataset_info *data, struct err *e)
{
    static const char name[] = "input";
    const struct spec_dataset_info given = *data;
    const char *own = json_get_string(json_get(json, "dataset"), "name", NULL);
    const struct spec_dataset_info *known = own != NULL ? spec_dataset_find(own) : NULL;
    if (known != NULL) *data = *known;
    else *data = (struct spec_dataset_info){ .name = name, .kind = SPEC_DATA_IMAGES };
    data->shape = given.shape;
    data->classes = given.classes;
    if (!cJSON_IsObject(json) || json_get(json, "dataset") != NULL) return 0;
    cJSON *dataset = cJSON_AddObjectToObject(json, "dataset");
    if (dataset != NULL && cJSON_AddStringToObject(dataset, "name", name) != NULL) return 0;
    return err_set(e, ERR_NOMEM, "dataset");
}

int command_load_spec_for(const char *path, const char *input, int64_t classes,
                          struct spec_dataset_info *data, struct spec *out, struct err *e)
{
    size_t length = 0;
    *data = (struct spec_dataset_info){ .classes = classes };
    if (read_shape(input, &data->shape, e) != 0) return (int)e->code;
    char *text = read_text(path, &length, e);
    if (text == NULL) return (int)e->code;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    cJSON *json = NULL;
    int rc = faults == NULL ? err_set(e, ERR_NOMEM, "faults") : 0;
    if (rc == 0 && length > SPEC_BYTES_MAX)
        rc = err_set(e, ERR_TOO_LARGE, "a spec of more than %d bytes", SPEC_BYTES_MAX);
    if (rc == 0) rc = json_parse(text, length, &json, e);
    if (rc == 0) rc = stand_in(json, data, e);
    if (rc == 0) rc = spec_parse_with(json, data, out, faults, e);
    if (faults != NULL) rc = told(path, rc, faults, e);
    cJSON_Delete(json);
    mem_free(faults);
    mem_free(text);
    return rc;
}

int command_load_spec(const char *path, struct spec *out, struct err *e)
{
    size_t length = 0;
    char *text = read_text(path, &length, e);
    if (text == NULL) return (int)e->code;
    struct json_faults *faults = mem_calloc(1, sizeof *faults);
    int rc = faults == NULL ? err_set(e, ERR_NOMEM, "faults")
                            : spec_parse_text(text, length, out, faults, e);
    if (faults != NULL) rc = told(path, rc, faults, e);
    mem_free(faults);
    mem_free(text);
    return rc;
}

int command_step_mode(const char *text, struct spec *s, struct err *e)
{
    return text == NULL ? 0 : spec_read_step_mode(text, &s->train, e);
}
