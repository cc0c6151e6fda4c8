/* faults: what a test does to the disk, the sockets and the clock of a daemon and its workers while
 * they run. The test maps a file of this layout and changes it; faults.so, loaded into them before
 * all other libraries, maps the same file (SPIKED_FAULTS=path) and obeys. All processes at once. */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

struct faults {
    _Atomic int64_t wall_ms;   /* added to the wall clock; the monotonic one stays sane */
    _Atomic int32_t disk_full; /* 1: nothing grows in state/, beside this file: ENOSPC */
    _Atomic int32_t free_permille; /* that statvfs tells; 0: the truth */
    _Atomic int32_t hang;      /* 1: reads of logs in state/ do not return */
    _Atomic int32_t lose;      /* so many answers to workers are lost, one at a time */
    /* How often it came to that. */
    _Atomic int64_t writes_refused, answers_lost, clocks_moved, reads_hung;
};

#endif
