/* process_id: whether a number still means the process that it once meant. Any thread. */
#ifndef SERVER_PROCESS_ID_H
#define SERVER_PROCESS_ID_H

#include "common/err.h"

#include <stdint.h>

/* GONE only when the kernel says so; a failure of ours to look (no descriptor, no memory) says
 * nothing about the process: UNKNOWN. A zombie is gone. */
enum process_there { PROCESS_THERE, PROCESS_GONE, PROCESS_UNKNOWN };

/* When the process of this number began: field 22 of /proc/PID/stat; *ticks is set when it is
 * there, e when that is not known. */
enum process_there process_began(int64_t pid, int64_t *ticks, struct err *e);
/* A pidfd of the process of that number and beginning, which the caller closes; no other process
 * can slip in between. *fd and e as above. */
enum process_there process_open(int64_t pid, int64_t ticks, int *fd, struct err *e);
void process_boot_id(char out[40]); /* of this boot of the machine; "" = not known */

#endif
