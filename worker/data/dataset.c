/* dataset: finds the maker of a dataset by name. See dataset.h. */
#include "worker/data/dataset.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether a user's folder has this file, or its .gz. */
static bool holds(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < (int)sizeof path && access(path, R_OK) == 0) return true;
    n = snprintf(path, sizeof path, "%s/%s.gz", folder, name);
    return n < (int)sizeof path && access(path, R_OK) == 0;
}

int dataset_open(struct dataset **out, const struct dataset_request *r, struct err *e)
{
    const char *name = r->spec->name, *data_dir = r->data_dir;
    if (strcmp(name, "glyphs") == 0) return glyphs_open(out, e);
    if (strcmp(name, "moving-glyphs") == 0) return moving_glyphs_open(out, r, e);
    if (strcmp(name, "delayed-recall") == 0) return recall_open(out, r, e);
    if (data_dir == NULL) {
        return err_set(e, ERR_NOT_FOUND, "dataset '%s' needs a data directory (--data-dir)", name);
    }
    char folder[PATH_MAX];
    struct stat st;
    if (snprintf(folder, sizeof folder, "%s/%s", data_dir, name) >= (int)sizeof folder ||
        stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return err_set(e, ERR_DATA, "there is no dataset folder '%.150s/%.60s'", data_dir, name);
    }
    if (event_files_know(name)) return event_files_open(out, folder, r, e);
    if (strcmp(name, "cifar10") == 0 || strcmp(name, "cifar100") == 0 ||
        holds(folder, "data_batch_1.bin"))
        return cifar_open(out, folder, name, e);
    if (holds(folder, "train-x.npy")) return npy_dataset_open(out, folder, r->time_steps, e);
    return idx_dataset_open(out, folder, e);
}

void dataset_close(struct dataset *d)
{
    if (d != NULL) d->ops->close(d);
}
