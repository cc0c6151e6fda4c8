/* file_output: the trainer's output on the command line: metrics.ndjson in the run's folder, events
 * for other programs, progress for people. Training thread. */
#ifndef WORKER_FILE_OUTPUT_H
#define WORKER_FILE_OUTPUT_H

#include "worker/train/output.h"

#include <stdbool.h>
#include <stdio.h>

struct file_output {
    FILE *metrics; /* DIR/metrics.ndjson */
    FILE *events;  /* --events FILE; NULL = none */
    bool terminal;
    int64_t last_ms;
    uint64_t said_step, said_epoch;
};
/* Opens DIR/metrics.ndjson; when a run goes on, lines after resume_step are cut off first.
 * Errors: ERR_IO. */
int file_output_open(struct file_output *f, const char *dir, const char *events,
                     uint64_t resume_step, struct err *e);
void file_output_close(struct file_output *f);
struct output file_output_of(struct file_output *f);

#endif
