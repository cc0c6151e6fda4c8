/* event_places: see event_places.h. */
#include "worker/data/event_places.h"

#include <string.h>

#define DIGITS_MAX 9
#define GESTURE_TRAIN_USERS 23 /* users 24 to 29 test: trials_to_test.txt */
#define CIFAR_TRAIN 900        /* of 1,000 a class; there is no official split */

/* A piece of a path. */
struct part {
    const char *at;
    size_t length;
};

/* The last three parts of a path; missing ones are empty. */
static void last_three(const char *path, struct part out[3])
{
    const char *end = path + strlen(path);
    for (int k = 2; k >= 0; k--) {
        const char *begin = end;
        while (begin > path && begin[-1] != '/') begin--;
        out[k] = (struct part){ begin, (size_t)(end - begin) };
        end = begin > path ? begin - 1 : path;
    }
}

static bool is(struct part p, const char *word)
{
    return strlen(word) == p.length && memcmp(p.at, word, p.length) == 0;
}

static bool ends(struct part p, const char *with)
{
    const size_t n = strlen(with);
    return p.length > n && memcmp(p.at + p.length - n, with, n) == 0;
}

static bool begins(struct part p, const char *with)
{
    return p.length > strlen(with) && memcmp(p.at, with, strlen(with)) == 0;
}

static struct part cut(struct part p, size_t front, size_t back)
{
    return (struct part){ p.at + front, p.length - front - back };
}

static bool number_of(struct part p, uint32_t *out)
{
    if (p.length == 0 || p.length > DIGITS_MAX) return false;
    *out = 0;
    for (size_t i = 0; i < p.length; i++) {
        if (p.at[i] < '0' || p.at[i] > '9') return false;
        *out = *out * 10 + (uint32_t)(p.at[i] - '0');
    }
    return true;
}

/* .../Train/3/00012.bin */
static int find_n_mnist(const char *path, struct event_place *out, struct err *e)
{
    struct part p[3];
    last_three(path, p);
    const bool train = is(p[0], "Train"), test = is(p[0], "Test");
    if (!train && !test) return 0;
    out->part = train ? DATASET_TRAIN : DATASET_TEST;
    if (!ends(p[2], ".bin") || !number_of(cut(p[2], 0, 4), &out->number))
        return err_set(e, ERR_DATA, "%.150s: a recording is called NUMBER.bin", path);
    if (p[1].length != 1 || !number_of(p[1], &out->class))
        return err_set(e, ERR_DATA, "%.150s: its folder is no digit", path);
    return 1;
}

/* .../airplane/cifar10_airplane_12.aedat */
static int find_cifar10_dvs(const char *path, struct event_place *out, struct err *e)
{
    static const char *const classes[10] = { "airplane", "automobile", "bird", "cat", "deer", "dog",
                                             "frog", "horse", "ship", "truck" };
    struct part p[3];
    last_three(path, p);
    if (!ends(p[2], ".aedat")) return 0;
    out->class = 0;
    while (out->class < 10 && !is(p[1], classes[out->class])) out->class++;
    if (out->class == 10)
        return err_set(e, ERR_DATA, "%.150s: its folder is no class of CIFAR-10", path);
    const size_t front = strlen("cifar10__") + p[1].length;
    if (!begins(p[2], "cifar10_") || p[2].length <= front + strlen(".aedat") ||
        !number_of(cut(p[2], front, strlen(".aedat")), &out->number))
        return err_set(e, ERR_DATA, "%.150s: a recording is called cifar10_CLASS_NUMBER.aedat",
                       path);
    out->part = out->number < CIFAR_TRAIN ? DATASET_TRAIN : DATASET_TEST;
    return 1;
}

/* .../user03_fluorescent_led_labels.csv: a user's gestures in one light. */
static int find_gesture(const char *path, struct event_place *out, struct err *e)
{
    static const char *const lights[5] = { "fluorescent", "fluorescent_led", "lab", "led",
                                           "natural" };
    struct part p[3];
    uint32_t user, light = 0;
    last_three(path, p);
    if (!ends(p[2], "_labels.csv")) return 0;
    const size_t front = strlen("userNN_");
    if (!begins(p[2], "user") || p[2].length <= front + strlen("_labels.csv") ||
        !number_of((struct part){ p[2].at + 4, 2 }, &user) || user == 0)
        return err_set(e, ERR_DATA, "%.150s: labels are called userNN_LIGHT_labels.csv", path);
    while (light < 5 && !is(cut(p[2], front, strlen("_labels.csv")), lights[light])) light++;
    if (light == 5) return err_set(e, ERR_DATA, "%.150s: a light that is not known", path);
    out->number = user * 8 + light;
    out->part = user <= GESTURE_TRAIN_USERS ? DATASET_TRAIN : DATASET_TEST;
    return 1;
}

static const struct event_places places[] = {
    { "n-mnist", event_parse_atis, find_n_mnist, NULL, NULL },
    { "cifar10-dvs", event_parse_aedat2, find_cifar10_dvs, NULL, NULL },
    { "dvs128-gesture", event_parse_aedat3, find_gesture, "_labels.csv", ".aedat" },
};

const struct event_places *event_places_find(const char *name)
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (strcmp(places[i].name, name) == 0) return &places[i];
    return NULL;
}
