/* series: see series.h. */
#include "common/series.h"

#include <string.h>

static const struct series_info rows[] = {
    { "train/loss", "1", "loss of the batch before the update", false, true },
    { "train/accuracy", "fraction", "share of the batch classified right", true, true },
    { "train/lr", "1", "learning rate of the step", false, true },
    { "train/grad_norm", "1", "2-norm of all weight gradients", false, true },
    { "val/loss", "1", "mean loss of the validation split", false, true },
    { "val/accuracy", "fraction", "share of the validation split classified right", true, true },
    { "test/loss", "1", "mean loss of the test set, at the end", false, true },
    { "test/accuracy", "fraction", "share of the test set classified right, at the end", true,
      true },
    { "LAYER/firing_rate", "spikes per neuron and time-step", "mean over batch and time", true,
      true },
    { "LAYER/tau", "time-steps", "membrane time constant", true, true },
    { "LAYER/grad_norm", "1", "2-norm of the layer's weight gradients", false, true },
    { "LAYER/dead_share", "fraction", "neurons that never fired in the batch", false, true },
    { "LAYER/saturated_share", "fraction", "neurons that fired at every step", false, true },
    { "sys/step_ms", "ms", "wall time of one training step", false, false },
    { "sys/samples_per_s", "1/s", "training samples a second", true, false },
    { "sys/rss_bytes", "bytes", "resident memory of the worker", false, false },
    { "sys/cpu_share", "cores", "CPU time used per wall time", false, false },
};

static bool matches(const char *pattern, const char *name)
{
    static const char layer[] = "LAYER/";
    if (strncmp(pattern, layer, sizeof layer - 1) != 0) return strcmp(pattern, name) == 0;
    const char *slash = strrchr(name, '/');
    return slash != NULL && slash != name && strcmp(slash + 1, pattern + sizeof layer - 1) == 0;
}

const struct series_info *series_find(const char *name)
{
    /* Fixed names stand first, so "train/grad_norm" is not taken for a layer called "train". */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (matches(rows[i].pattern, name)) return &rows[i];
    }
    return NULL;
}

bool series_name_valid(const char *name, size_t length)
{
    if (length == 0 || length > SERIES_NAME_MAX) return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (c == '\0' || strchr("_./:-", c) == NULL)) return false;
    }
    return true;
}

size_t series_table(const struct series_info **out)
{
    *out = rows;
    return sizeof rows / sizeof rows[0];
}
