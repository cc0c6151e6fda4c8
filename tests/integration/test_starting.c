/* Stories of workers that do not come to train: data that load slowly, a program that cannot be
 * run. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOW                                                                                \
    "{\"version\": 1, \"dataset\": {\"name\": \"slow\"}, \"retry\": {\"max_attempts\": 1}," \
    "\"network\": {\"layers\": [{\"type\": \"flatten\"}, {\"type\": \"linear\", "           \
    "\"out_features\": 4}]}}"

/* A data set whose first file never ends: a pipe that nobody writes to. */
static void make_slow_data(const struct service *s)
{
    static const char *const files[] = { "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz" };
    char path[300];
    (void)snprintf(path, sizeof path, "%s/data/slow", s->folder);
    cr_assert(mkdir(path, 0700) == 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/data/slow/%s", s->folder, files[i]);
        cr_assert(mkfifo(path, 0600) == 0);
    }
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) n++;
    return n;
}

static void expect_failed(const struct service *s, const char *reason, const char *words)
{
    cr_assert(wait_state(s, 1, "failed", 20));
    cJSON *x = experiment(s, 1);
    cr_expect_str_eq(json_get_string(x, "reason", ""), reason);
    cr_expect(strstr(json_get_string(x, "message", ""), words) != NULL, "%s",
              json_get_string(x, "message", ""));
    cJSON_Delete(x);
}

/* Goal: a worker says that it lives while it loads, so that loading may take longer than a lease;
 * how long it may take is a limit of its own. */
Test(starting, a_worker_that_loads_renews_its_lease, .timeout = 60)
{
    struct service s = { .extra = { "--start-timeout-s", "4" } };
    service_start(&s);
    make_slow_data(&s);
    cr_assert_eq(submit(&s, SLOW), 1);
    char *events = http_stream(&s, "/api/v1/events?topics=experiment:1", "\"failed\"", 15);
    cr_expect_geq(count(events, "event: experiment.progress"), 2, "%s", events);
    mem_free(events);
    expect_failed(&s, "start_timeout", "--start-timeout-s");
    service_end(&s);
}

/* Goal: a worker program that cannot be run is named, with the error. */
Test(starting, a_program_that_cannot_be_run_is_named, .timeout = 60)
{
    char program[] = "/tmp/spiked-program-XXXXXX";
    const int fd = mkstemp(program);
    cr_assert(fd >= 0 && write(fd, "#!/nowhere/sh\n", 14) == 14 && fchmod(fd, 0700) == 0 &&
              close(fd) == 0);
    struct service s = { .extra = { "--worker-program", program } };
    service_start(&s);
    char *spec = small_spec(1, "\"retry\": {\"max_attempts\": 1}");
    cr_assert_eq(submit(&s, spec), 1);
    expect_failed(&s, "spawn_failed", "No such file");
    mem_free(spec);
    service_end(&s);
    (void)unlink(program);
}
