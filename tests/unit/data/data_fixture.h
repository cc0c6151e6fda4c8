/* data_fixture: opens a data set by its name alone, for tests. */
#ifndef TESTS_DATA_FIXTURE_H
#define TESTS_DATA_FIXTURE_H

#include "worker/data/dataset.h"

#include <stdio.h>

static inline int open_steps(struct dataset **out, const char *name, size_t time_steps,
                             struct spec_frames frames, const char *data_dir, struct err *e)
{
    struct spec_dataset spec = { .frames = frames };
    (void)snprintf(spec.name, sizeof spec.name, "%s", name);
    const struct dataset_request r = { &spec, time_steps, data_dir };
    return dataset_open(out, &r, e);
}

static inline int open_named(struct dataset **out, const char *name, const char *data_dir,
                             struct err *e)
{
    return open_steps(out, name, 4, (struct spec_frames){ 0 }, data_dir, e);
}

#endif
