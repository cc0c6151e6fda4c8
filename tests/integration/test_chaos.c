/* The fault campaign: daemon and workers are killed at every named point of a change and at odd
 * moments, their answers are lost, their disk is full, their clock jumps, again and again while
 * experiments train; and a judge that was not there decides whether anything shows of it.
 * Rounds come in seasons, each with a state directory of its own, which begin with the migrations.
 * CHAOS_ROUNDS says how many (`make chaos`: 200), CHAOS_SEED where the random numbers begin. */
#include "common/clock.h"
#include "tests/chaos/chaos_judge.h"
#include "tests/chaos/chaos_rounds.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define SEASON_ROUNDS 40
#define DRAIN_S 120
#define DECK_MAX 400
/* One of each kind but the last, the halted worker, which takes the time of a lease. */
#define SHORT_ROUNDS (CRASH_POINT_COUNT + ROUND_OTHERS - 1)

/* ---- a season -------------------------------------------------------------------------------- */
/* Every crash point once and other faults for the rest, in random order after the migrations. */
static void shuffle(int deck[], int rounds, uint32_t *random)
{
    for (int i = 0; i < rounds; i++)
        deck[i] = i < CRASH_POINT_COUNT
                      ? i
                      : CRASH_POINT_COUNT + (i - CRASH_POINT_COUNT) % ROUND_OTHERS;
    for (int i = rounds - 1; i > CRASH_MIGRATION_AFTER_COMMIT + 1; i--) {
        const int first = CRASH_MIGRATION_AFTER_COMMIT + 1;
        const int j = first + (int)random_next(random, (uint32_t)(i - first + 1)), kept = deck[i];
        deck[i] = deck[j];
        deck[j] = kept;
    }
}

static void season(int number, int first, int rounds, uint32_t seed, const char *undisturbed,
                   int64_t hits[CRASH_POINT_COUNT])
{
    struct chaos c;
    int deck[DECK_MAX];
    char files[200];
    chaos_open(&c, number, seed);
    shuffle(deck, rounds, &c.random);
    const pid_t watcher = judge_watch_begin(c.s.folder);
    for (int i = 0; i < rounds; i++) {
        const int64_t began = clock_mono_ms();
        const bool hit = chaos_round(&c, deck[i]);
        cr_expect(hit || deck[i] < CRASH_POINT_COUNT, "%s: no worker, or it was not ended",
                  round_name(deck[i]));
        (void)printf("round %d: %s%s, %.1f s\n", first + i, round_name(deck[i]),
                     hit ? "" : " (not hit)", (double)(clock_mono_ms() - began) / 1000);
        (void)fflush(stdout);
    }
    cr_assert(chaos_drain(&c, DRAIN_S), "experiments of %s do not end", c.s.folder);
    judge_watch_end(watcher);
    judge_collect_from(c.s.base, c.s.folder);
    (void)snprintf(files, sizeof files, "%s/state/files", c.s.folder);
    cr_assert(judge_decide(c.s.folder, files, undisturbed, NULL) == 0, "faults, see %s",
              c.s.folder);
    chaos_hits(&c, hits);
    (void)printf("season %d: %zu experiments, %" PRId64 " kills, %" PRId64
                 " answers lost by workers"
                 " and %" PRId64 " by the client, %" PRId64 " writes refused, clock asked %" PRId64
                 " times while it was wrong\n",
                 number, c.client.n_sent, c.kills, atomic_load(&c.faults->answers_lost),
                 c.client.answers_lost, atomic_load(&c.faults->writes_refused),
                 atomic_load(&c.faults->clocks_moved));
    (void)fflush(stdout);
    chaos_close(&c);
}

static long number_from(const char *name, long fallback)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtol(text, NULL, 10) : fallback;
}

/* Goal: no moment of death, lost answer, full disk or wrong clock loses, repeats or changes a
 * point, a weight or an acknowledged experiment, and no attempt begins beside a living one. */
Test(chaos, nothing_shows_of_any_fault, .timeout = 7200)
{
    const long rounds = number_from("CHAOS_ROUNDS", SHORT_ROUNDS);
    const uint32_t seed = (uint32_t)number_from("CHAOS_SEED", 1);
    const int seasons = rounds < 2 * SEASON_ROUNDS ? 1 : (int)(rounds / SEASON_ROUNDS);
    int64_t hits[CRASH_POINT_COUNT] = { 0 };
    char undisturbed[64];
    cr_assert(rounds >= CRASH_POINT_COUNT && rounds / seasons < DECK_MAX);
    (void)printf("chaos: %ld rounds, CHAOS_SEED=%u\n", rounds, seed);
    (void)fflush(stdout);
    judge_undisturbed(undisturbed, sizeof undisturbed, 0, CLIENT_SPECS);
    int done = 0;
    for (int i = 0; i < seasons; i++) {
        const int n = (int)(rounds - done) / (seasons - i);
        season(i + 1, done + 1, n, seed + (uint32_t)i * 7919, undisturbed, hits);
        done += n;
    }
    const int64_t least = seasons >= 3 ? 3 : 1;
    int short_of = 0;
    for (int i = 0; i < CRASH_POINT_COUNT; i++) {
        (void)printf("hit %4" PRId64 "  %s\n", hits[i], round_name(i));
        short_of += hits[i] < least;
    }
    (void)printf("chaos: %d rounds, CHAOS_SEED=%u, every point hit at least %" PRId64
                 " times: %s\n",
                 done, seed, least, short_of == 0 ? "yes" : "no");
    (void)fflush(stdout);
    cr_assert(short_of == 0, "%d points were not hit %" PRId64 " times", short_of, least);
    judge_forget(undisturbed);
}
