/* The story of a disk that fills up, as far as its file system tells (statvfs): what is refused and
 * when, that what runs goes on, and that nothing is missing afterwards. */
#include "tests/chaos/chaos_rounds.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct chaos c;

static long status_of(const char *path)
{
    struct answer a = http_get(&c.s, path);
    const long status = a.status;
    answer_free(&a);
    return status;
}

static long submit_status(void)
{
    char *spec = small_spec(1, NULL);
    struct answer a = http_post(&c.s, "/api/v1/experiments", spec);
    const long status = a.status;
    answer_free(&a);
    mem_free(spec);
    return status;
}

static bool metrics_say(const char *line)
{
    struct answer a = http_get(&c.s, "/metrics");
    const bool there = strstr(a.body, line) != NULL;
    answer_free(&a);
    return there;
}

static bool wait_room(const char *line)
{
    for (int i = 0; i < 200; i++) {
        if (metrics_say(line)) return true;
        sleep_ms(50);
    }
    return false;
}

static int64_t points_of(int64_t id)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/metrics", (long long)id);
    struct answer a = http_get(&c.s, path);
    const cJSON *x;
    int64_t n = -1;
    cJSON_ArrayForEach(x, json_get(a.json, "items"))
        if (strcmp(json_get_string(x, "name", ""), "train/loss") == 0) n = json_get_int(x, "n", -1);
    answer_free(&a);
    return n;
}

/* Goal: below 5 % nothing is taken or started and the reason is told, below 1 % points wait in the
 * worker's spool while its steps are heard of; with room again everything goes on and no point is
 * missing. */
Test(disk, nothing_is_lost_below_the_floor, .timeout = 120)
{
    chaos_open(&c, 1, 1);
    static const char *const options[] = { "--disk-check-s", "1", "--max-running", "1" };
    memcpy(c.s.extra, options, sizeof options);
    service_restart(&c.s);
    char *spec = small_spec(4000, "\"seed\": 5"); /* longer than the story */
    const int64_t id = submit(&c.s, spec), waits = submit(&c.s, spec);
    cr_assert(wait_step(&c.s, id, 5, 60));
    cr_expect(metrics_say("\nspiked_disk_room 0\n"));

    atomic_store(&c.faults->free_permille, 40);
    cr_assert(wait_room("\nspiked_disk_room 1\n"));
    cr_expect_eq(status_of("/readyz"), 503);
    cr_expect_eq(submit_status(), 503);
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld/queue", (long long)waits);
    struct answer a = http_get(&c.s, path);
    cr_expect_str_eq(json_get_string(a.json, "blocked_by", ""), "disk_low");
    answer_free(&a);
    const int64_t some = points_of(id);
    for (int i = 0; points_of(id) == some && i < 200; i++) sleep_ms(50);
    cr_expect_gt(points_of(id), some, "what runs does not go on");

    atomic_store(&c.faults->free_permille, 5);
    cr_assert(wait_room("\nspiked_disk_room 2\n"));
    const int64_t kept = points_of(id);
    const int64_t step = experiment_int(&c.s, id, "progress", "step");
    cr_assert(wait_step(&c.s, id, step + 20, 60), "it is not heard of");
    cr_expect_eq(points_of(id), kept, "points were taken");

    atomic_store(&c.faults->free_permille, 0);
    cr_assert(wait_room("\nspiked_disk_room 0\n"));
    cr_expect_eq(status_of("/readyz"), 200);
    const int64_t later = experiment_int(&c.s, id, "progress", "step");
    for (int i = 0; points_of(id) < later && i < 400; i++) sleep_ms(50);
    cr_expect_geq(points_of(id), later, "points are missing");
    (void)client_act(&c.client, waits, "cancel");
    (void)client_act(&c.client, id, "cancel");
    cr_assert(wait_state(&c.s, id, "cancelled", 60));
    mem_free(spec);
    chaos_close(&c);
}
