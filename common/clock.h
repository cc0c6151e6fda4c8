/* clock: monotonic and wall time in ms. Any thread. Tests replace it. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
int64_t clock_wall_ms(void); /* ms since 1970-01-01 UTC */

/* Tests only: a fixed offset added to the wall clock, or a function that replaces mono and wall. */
void clock_override(int64_t (*mono_ms)(void), int64_t (*wall_ms)(void)); /* NULL, NULL = real */

#define CLOCK_RFC3339_MAX 32
/* "2026-11-24T02:31:07.120Z" */
void clock_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_MAX]);

#endif
