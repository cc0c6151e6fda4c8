/* folder_fixture: a folder of files that a test writes and takes away again. */
#ifndef TESTS_FOLDER_FIXTURE_H
#define TESTS_FOLDER_FIXTURE_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static inline void folder_make(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-data-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

/* path: below the folder; folders in it are made. */
static inline void folder_write(const char *path, const void *bytes, size_t n)
{
    char all[256];
    (void)snprintf(all, sizeof all, "%s/%s", folder, path);
    for (char *c = all + strlen(folder) + 1; (c = strchr(c, '/')) != NULL; c++) {
        *c = '\0';
        (void)mkdir(all, 0777);
        *c = '/';
    }
    FILE *f = fopen(all, "wb");
    cr_assert(f != NULL && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s", all);
}

static int folder_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void folder_remove(void)
{
    (void)nftw(folder, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
