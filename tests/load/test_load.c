/* The load table: what the daemon holds, row by row, against the goals of the design, each measured
 * against a daemon of its own with default limits; a row says where it needs another one.
 *   make load                    everything, some minutes: best on a quiet machine
 *   LOAD_SECONDS=5 make load     shorter
 *   LOAD_ROWS=points make load   one part: rest, submissions, list, points, streams, faults
 * Without LOAD_FULL (in `make test`) it does less of everything and asks for a fraction of the
 * speed, so that it finds what is broken and not what is slow today. */
#include "tests/load/load.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct load measure(void)
{
    const char *seconds = getenv("LOAD_SECONDS");
    const bool full = getenv("LOAD_FULL") != NULL;
    struct load l = { .small = !full,
                      .seconds = full ? 60 : 3,
                      .experiments = full ? 100000 : 2000,
                      .burst = full ? 10000 : 1000,
                      .chart_points = full ? 1000000 : 100000,
                      .streams = full ? 1000 : 130,
                      .slow_sockets = full ? 10000 : 300 };
    if (seconds != NULL && seconds[0] != '\0') l.seconds = strtod(seconds, NULL);
    cr_assert(l.seconds >= 1, "LOAD_SECONDS is %s", seconds);
    return l;
}

/* Goal: every row is right (nothing lost, nothing twice), and as fast as it should be. */
Test(load, every_row_of_the_table, .timeout = 3600)
{
    static const struct {
        const char *name;
        void (*rows)(struct load *l);
    } parts[] = { { "rest", rows_at_rest },        { "submissions", rows_of_submissions },
                  { "list", rows_of_a_full_list }, { "points", rows_of_points },
                  { "streams", rows_of_streams },  { "faults", rows_of_faults } };
    struct load l = measure();
    const char *only = getenv("LOAD_ROWS");
    int ran = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (only != NULL && only[0] != '\0' && strstr(only, parts[i].name) == NULL) continue;
        parts[i].rows(&l);
        ran++;
    }
    cr_assert(ran > 0, "LOAD_ROWS=%s names no part", only);
    (void)printf("load: %d rows reached their goal, %d missed it\n", l.reached, l.missed);
    (void)fflush(stdout);
}
