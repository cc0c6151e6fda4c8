/* The kill campaign: worker, daemon or both are killed with -9 at odd moments, again and again,
 * until the experiment has succeeded all the same; then every point and every weight must have the
 * bits of an undisturbed run. Two networks take turns: the small one of all stories, and one with
 * whatever else a neuron carries from step to step and epoch to epoch. SPIKED_CAMPAIGN_ROUNDS
 * (default 2) says how many experiments; `make prove` does more. */
#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/results.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define KILLS 6

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static bool ended(const struct service *s, int64_t id)
{
    cJSON *x = experiment(s, id);
    const bool over = strcmp(json_get_string(x, "state", ""), "succeeded") == 0;
    cr_assert(strcmp(json_get_string(x, "state", ""), "failed") != 0, "%s",
              json_get_string(x, "message", ""));
    cJSON_Delete(x);
    return over;
}

/* One experiment, killed up to KILLS times. Returns how often. */
static int disturb(struct service *s, int64_t id, uint32_t *random)
{
    int kills = 0;
    while (kills < KILLS && !ended(s, id)) {
        sleep_ms((int)(300 + next_random(random) % 900));
        const uint32_t what = next_random(random) % 3;
        const pid_t worker = service_worker(s);
        if (what != 0) service_kill(s);
        if (what != 1 && worker > 0) (void)kill(worker, SIGKILL);
        if (what != 0) service_restart(s);
        kills++;
    }
    return kills;
}

/* Time constants of every channel, thresholds and slopes of every neuron, masked PSN on its way to
 * its mask, averaged weights, augmentation, accumulated batches. */
static char *scoped_spec(void)
{
    return mem_strdup(
        "{\"version\": 1, \"time_steps\": 4, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": "
        "640, \"test_limit\": 100, \"transforms\": [{\"type\": \"random_crop\", \"padding\": 2}]},"
        "\"network\": {\"neuron\": {\"v_threshold\": 0.5}, \"layers\": ["
        "{\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": 3, \"stride\": 2, \"bias\": "
        "false}, {\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"plif\", "
        "\"scope\": "
        "\"channel\", \"learn_threshold\": true}, {\"type\": \"max_pool2d\", \"kernel_size\": 2},"
        "{\"type\": \"flatten\"}, {\"type\": \"linear\", \"out_features\": 40}, {\"type\": "
        "\"neuron\","
        " \"model\": \"klif\", \"scope\": \"neuron\", \"learn_threshold\": true}, {\"type\": "
        "\"linear\","
        " \"out_features\": 32}, {\"type\": \"neuron\", \"model\": \"masked_psn\", "
        "\"lambda_rate\": "
        "1.5}, {\"type\": \"linear\", \"out_features\": 10}]},"
        "\"train\": {\"epochs\": 16, \"batch_size\": 16, \"accumulate\": 2, \"loss\": {\"type\": "
        "\"cross_entropy\"}, \"ema\": {\"decay\": 0.9}}, \"checkpoint\": {\"every_steps\": 10},"
        "\"resources\": {\"threads\": 2}, \"retry\": {\"max_attempts\": 100}}");
}

/* Goal: no moment of death loses, repeats or changes a point or a weight. */
Test(campaign, killing_changes_nothing, .timeout = 3600)
{
    const char *wanted = getenv("SPIKED_CAMPAIGN_ROUNDS");
    const long rounds = wanted != NULL ? strtol(wanted, NULL, 10) : 2;
    struct service s = { .extra = { "--retry-delay-ms", "50" } };
    uint32_t random = 20260;
    int kills = 0;
    service_start(&s);
    char *specs[2] = { small_spec(40, "\"retry\": {\"max_attempts\": 100}"), scoped_spec() };
    int64_t undisturbed[2];
    for (size_t i = 0; i < 2; i++) {
        undisturbed[i] = submit(&s, specs[i]);
        cr_assert(wait_state(&s, undisturbed[i], "succeeded", 120));
    }
    for (long i = 0; i < rounds; i++) {
        const int64_t id = submit(&s, specs[i % 2]);
        kills += disturb(&s, id, &random);
        cr_assert(wait_state(&s, id, "succeeded", 120));
        expect_same(&s, undisturbed[i % 2], id);
    }
    (void)printf("campaign: %ld experiments, %d kills, all bits equal\n", rounds, kills);
    (void)fflush(stdout);
    cr_assert(kills >= rounds);
    mem_free(specs[0]);
    mem_free(specs[1]);
    service_end(&s);
}
