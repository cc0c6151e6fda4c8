/* Stories of faults: killed workers, a killed daemon, damaged data. Nothing is lost, nothing is
 * counted twice, and the result has the same bits as that of a run without faults. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/results.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define EPOCHS 40
#define STEPS (EPOCHS * 36) /* 576 training samples, 16 a batch */

/* Goal: a worker killed with -9 is noticed within a second, and its next attempt ends with the bits
 * of an undisturbed run. */
Test(faults, a_killed_worker_resumes_to_the_same_bits)
{
    struct service s = { .extra = { "--retry-delay-ms", "2000" } };
    service_start(&s);
    char *spec = small_spec(EPOCHS, NULL);
    const int64_t undisturbed = submit(&s, spec);
    cr_assert(wait_state(&s, undisturbed, "succeeded", 60));
    const int64_t id = submit(&s, spec);
    cr_assert(wait_step(&s, id, STEPS / 3, 60));
    const pid_t worker = service_worker(&s);
    cr_assert(worker > 0 && kill(worker, SIGKILL) == 0);
    const int64_t killed = clock_mono_ms();
    cr_assert(wait_state(&s, id, "backoff", 3));
    cr_assert(clock_mono_ms() - killed < 1000, "noticed after %lld ms",
              (long long)(clock_mono_ms() - killed));
    cr_assert(wait_state(&s, id, "succeeded", 60));
    cr_assert(experiment_int(&s, id, NULL, "attempt") == 2);
    expect_same(&s, undisturbed, id);
    mem_free(spec);
    service_end(&s);
}

/* Goal: training goes on while the daemon is dead; the next daemon takes the worker over and misses
 * no point. */
Test(faults, a_killed_daemon_costs_nothing)
{
    struct service s = { 0 };
    service_start(&s);
    char *spec = small_spec(EPOCHS, NULL);
    const int64_t undisturbed = submit(&s, spec);
    cr_assert(wait_state(&s, undisturbed, "succeeded", 60));
    const int64_t id = submit(&s, spec), waiting = submit(&s, spec);
    cr_assert(wait_step(&s, id, 20, 60));
    const pid_t worker = service_worker(&s);
    service_kill(&s);
    sleep_ms(400);
    cr_assert(kill(worker, 0) == 0, "the worker died with the daemon");
    service_restart(&s);
    cr_assert(wait_state(&s, id, "succeeded", 60));
    cr_assert(experiment_int(&s, id, NULL, "attempt") == 1);
    expect_same(&s, undisturbed, id);
    cr_assert(wait_state(&s, waiting, "succeeded", 60));
    mem_free(spec);
    service_end(&s);
}

/* Goal: with --workers stop an orderly end checkpoints the worker, and the next start goes on. */
Test(faults, an_orderly_stop_goes_on_later)
{
    struct service s = { .extra = { "--workers", "stop" } };
    service_start(&s);
    char *spec = small_spec(EPOCHS, NULL);
    const int64_t undisturbed = submit(&s, spec);
    cr_assert(wait_state(&s, undisturbed, "succeeded", 60));
    const int64_t id = submit(&s, spec);
    cr_assert(wait_step(&s, id, 20, 60));
    service_stop(&s);
    cr_assert(service_processes(&s) == 0, "a worker is left");
    service_restart(&s);
    cr_assert(wait_state(&s, id, "succeeded", 60));
    expect_same(&s, undisturbed, id);
    mem_free(spec);
    service_end(&s);
}

static void write_file(const char *folder, const char *name, const void *data, size_t n,
                       size_t keep)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    gzFile z = gzopen(path, "wb");
    cr_assert(z != NULL && gzwrite(z, data, (unsigned)n) == (int)n && gzclose(z) == Z_OK);
    struct stat st;
    cr_assert(stat(path, &st) == 0);
    if (keep > 0) cr_assert(truncate(path, (off_t)keep) == 0);
}

/* Goal: a damaged data file fails its experiment at once, by name and offset, without a retry. */
Test(faults, damaged_data_fails_by_name_and_offset)
{
    struct service s = { 0 };
    service_start(&s);
    char folder[200];
    (void)snprintf(folder, sizeof folder, "%s/data/shapes", s.folder);
    cr_assert(mkdir(folder, 0700) == 0);
    unsigned char images[16 + 4 * 28 * 28] = { 0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0, 28 };
    for (size_t i = 16; i < sizeof images; i++) images[i] = (unsigned char)(i * 2654435761U >> 7);
    const unsigned char labels[8 + 4] = { 0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 3 };
    write_file(folder, "train-images-idx3-ubyte.gz", images, sizeof images, 900);
    write_file(folder, "train-labels-idx1-ubyte.gz", labels, sizeof labels, 0);
    write_file(folder, "t10k-images-idx3-ubyte.gz", images, sizeof images, 0);
    write_file(folder, "t10k-labels-idx1-ubyte.gz", labels, sizeof labels, 0);
    const char *spec =
        "{\"version\": 1, \"dataset\": {\"name\": \"shapes\"}, \"network\": {\"layers\": ["
        "{\"type\": \"flatten\"}, {\"type\": \"linear\", \"out_features\": 4}]}}";
    const int64_t id = submit(&s, spec);
    cr_assert(wait_state(&s, id, "failed", 20));
    cJSON *x = experiment(&s, id);
    cr_assert(strcmp(json_get_string(x, "reason", ""), "invalid_data") == 0);
    const char *message = json_get_string(x, "message", "");
    cr_assert(strstr(message, "train-images-idx3-ubyte.gz") != NULL &&
                  strstr(message, "ends at byte") != NULL,
              "%s", message);
    cr_assert(json_get_int(x, "attempt", 0) == 1);
    cJSON_Delete(x);
    const int64_t absent = submit(
        &s, "{\"version\": 1, \"dataset\": {\"name\": \"nowhere\"}, \"network\": "
            "{\"layers\": [{\"type\": \"flatten\"}, {\"type\": \"linear\", "
            "\"out_features\": 4}]}}");
    cr_assert(wait_state(&s, absent, "failed", 20));
    x = experiment(&s, absent);
    cr_assert(strstr(json_get_string(x, "message", ""), "nowhere") != NULL);
    cJSON_Delete(x);
    service_end(&s);
}
