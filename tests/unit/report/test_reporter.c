/* Tests of reporter: an attempt ends while nobody takes what it wrote. */
#include "worker/report/reporter.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int never(void) { return 0; }

/* A reporter whose daemon is not there, over a spool with `frames` frames of one point. */
static bool stop_with(int frames)
{
    char folder[] = "/tmp/spiked-reporter-XXXXXX", path[100], server[150];
    struct client *clients[2] = { NULL, NULL };
    struct reporter r = { 0 };
    struct spool spool = { 0 };
    struct err e = { 0 };
    cr_assert(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/spool", folder);
    (void)snprintf(server, sizeof server, "unix:%s/sock", folder);
    cr_assert(spool_open(&spool, path, &e) == 0, "%s", e.text);
    const struct point point = { .step = 1, .value = 0.5 };
    const struct wire_series series = { .name = "train/loss", .points = &point, .n_points = 1 };
    for (int i = 0; i < frames; i++) cr_assert(spool_points(&spool, &series, 1, &e) == 0);
    for (int i = 0; i < 2; i++)
        cr_assert(client_create(&clients[i], server, 1, 1, "secret", &e) == 0, "%s", e.text);
    cr_assert(reporter_renew(&r, clients[1], 1000, never, &e) == 0, "%s", e.text);
    cr_assert(reporter_send(&r, clients[0], &spool, &e) == 0, "%s", e.text);
    const bool all = reporter_stop(&r, 200);
    for (int i = 0; i < 2; i++) client_destroy(clients[i]);
    spool_close(&spool);
    (void)unlink(path);
    (void)rmdir(folder);
    return all;
}

/* Goal: who ends knows whether points are left behind. It did not, and told a success whose last
 * points the daemon had never seen. */
Test(reporter, says_whether_all_was_taken, .timeout = 30)
{
    cr_expect(stop_with(0));
    cr_expect_not(stop_with(2));
}
