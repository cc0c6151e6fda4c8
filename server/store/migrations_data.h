/* migrations_data: the numbered SQL files of migrations/, compiled in by deploy/build. */
#ifndef SERVER_MIGRATIONS_DATA_H
#define SERVER_MIGRATIONS_DATA_H

#include <stddef.h>

struct migration_text {
    int number;       /* 1, 2, ... within its database */
    const char *name; /* file name without .sql; "metrics_..." belongs to metrics.db */
    const char *sql;
};
extern const struct migration_text migrations_all[];
extern const size_t migrations_count;

#endif
