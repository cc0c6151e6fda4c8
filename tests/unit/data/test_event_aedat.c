/* AEDAT 2.0 and 3.1: files as published, written by the test, byte by byte; faults at their byte.
 * The data sets that use them: DVS128 Gesture with its labels, CIFAR10-DVS. */
#include "worker/data/event_bytes.h"
#include "tests/unit/data/data_fixture.h"
#include "tests/unit/data/folder_fixture.h"

#include "common/mem.h"

#include <criterion/criterion.h>

#define SIDE 128
#define CELLS (2 * SIDE * SIDE)

static const struct event_sensor sensor = { SIDE, SIDE };

struct file {
    uint8_t at[4096];
    size_t n;
};

static void text(struct file *f, const char *s)
{
    memcpy(f->at + f->n, s, strlen(s));
    f->n += strlen(s);
}

static void big(struct file *f, uint32_t v)
{
    for (int k = 3; k >= 0; k--) f->at[f->n++] = (uint8_t)(v >> 8 * k);
}

static void little(struct file *f, uint32_t v, int bytes)
{
    for (int k = 0; k < bytes; k++) f->at[f->n++] = (uint8_t)(v >> 8 * k);
}

/* Header of a packet with room for `capacity` events of 8 bytes, of which `number` are there. */
static void packet(struct file *f, uint32_t type, uint32_t overflow, uint32_t capacity,
                   uint32_t number)
{
    little(f, type, 2);
    little(f, 1, 2);
    little(f, 8, 4);
    little(f, 4, 4);
    little(f, overflow, 4);
    little(f, capacity, 4);
    little(f, number, 4);
    little(f, number, 4);
}

static void polarity(struct file *f, uint32_t x, uint32_t y, uint32_t p, uint32_t valid, uint32_t t)
{
    little(f, x << 17 | y << 2 | p << 1 | valid, 4);
    little(f, t, 4);
}

static const char head3[] = "#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n";
static const char head2[] = "#!AER-DAT2.0\r\n# This is a raw AE data file\r\n";

static void expect_events(const struct event_list *l, const struct event *want, size_t n)
{
    cr_assert_eq(l->count, n);
    for (size_t i = 0; i < n; i++)
        cr_assert(l->at[i].t == want[i].t && l->at[i].x == want[i].x && l->at[i].y == want[i].y &&
                      l->at[i].p == want[i].p,
                  "event %zu: t %lld x %d y %d p %d", i, (long long)l->at[i].t, l->at[i].x,
                  l->at[i].y, l->at[i].p);
}

/* Goal: valid polarity events of all packets, with the clock's overflow, in order of time; other
 * packets and room that is not used are skipped. */
Test(event_aedat, packets_of_aedat3)
{
    struct file f = { .n = 0 };
    struct event_list l = { 0 };
    struct err e = { 0 };
    text(&f, head3);
    packet(&f, 1, 0, 3, 3);
    polarity(&f, 127, 1, 1, 1, 500);
    polarity(&f, 2, 2, 1, 0, 501); /* not valid */
    polarity(&f, 3, 126, 0, 1, 400);
    packet(&f, 0, 0, 2, 2);
    polarity(&f, 9999, 9999, 0, 1, 1);
    polarity(&f, 9999, 9999, 0, 1, 2);
    packet(&f, 1, 2, 2, 1);
    polarity(&f, 4, 5, 1, 1, 7);
    polarity(&f, 9999, 0, 1, 1, 7); /* beyond the number */
    cr_assert_eq(event_parse_aedat3(f.at, f.n, sensor, &l, &e), 0, "%s", e.text);
    const struct event want[] = { { 400, 3, 126, 0 }, { 500, 127, 1, 1 },
                                  { ((int64_t)2 << 31) + 7, 4, 5, 1 } };
    expect_events(&l, want, 3);
    event_list_deinit(&l);
}

/* Goal: addresses are turned as SpikingJelly turns them; signals are left out. */
Test(event_aedat, addresses_of_aedat2)
{
    struct file f = { .n = 0 };
    struct event_list l = { 0 };
    struct err e = { 0 };
    text(&f, head2);
    big(&f, 10u << 8 | 20u << 1 | 1);
    big(&f, 0xfffffff0u);
    big(&f, 0x8000u);
    big(&f, 3);
    big(&f, 127u << 8 | 0u << 1 | 0);
    big(&f, 9);
    cr_assert_eq(event_parse_aedat2(f.at, f.n, sensor, &l, &e), 0, "%s", e.text);
    const struct event want[] = { { 9, 0, 127, 1 }, { 0xfffffff0, 117, 107, 0 } };
    expect_events(&l, want, 2);
    event_list_deinit(&l);
}

static void refuse(event_parse_fn *parse, const struct file *f, size_t n, const char *words)
{
    struct event_list l = { 0 };
    struct err e = { 0 };
    cr_expect_eq(parse(f->at, n, sensor, &l, &e), ERR_DATA, "%s", words);
    cr_expect_not_null(strstr(e.text, words), "'%s' is not in: %s", words, e.text);
    event_list_deinit(&l);
}

/* Goal: what is cut off, impossible or outside is refused at its byte. */
Test(event_aedat, faults_name_the_byte)
{
    struct file f = { .n = 0 };
    refuse(event_parse_aedat3, &f, 0, "byte 0: does not begin");
    refuse(event_parse_aedat2, &f, 0, "byte 0: does not begin");
    text(&f, head3);
    const size_t begin = f.n;
    refuse(event_parse_aedat3, &f, begin, "byte 42: there is no event");
    refuse(event_parse_aedat3, &f, 20, "#!END-HEADER is missing");
    packet(&f, 1, 0, 1, 1);
    polarity(&f, 1, 2, 1, 1, 3);
    refuse(event_parse_aedat3, &f, f.n - 1, "byte 42: a packet of 1 events of 8 bytes is cut off");
    refuse(event_parse_aedat3, &f, begin + 27, "byte 42: a packet's header");
    struct file g = f;
    g.at[begin + 20] = 2;
    refuse(event_parse_aedat3, &g, g.n, "byte 62: 2 events in a packet for 1");
    g = f;
    g.at[begin + 8] = 0;
    refuse(event_parse_aedat3, &g, g.n, "byte 46: polarity events of 8 bytes with the time at 0");
    g = f;
    g.at[begin + 28 + 3] = 1; /* x = 128 + ... */
    refuse(event_parse_aedat3, &g, g.n, "byte 70: an event at x 129, y 2");
    g = f;
    g.at[begin + 28 + 7] = 0x80;
    refuse(event_parse_aedat3, &g, g.n, "byte 74: the time is negative");
    f.n = 0;
    text(&f, head2);
    big(&f, 0x12345);
    big(&f, 1);
    refuse(event_parse_aedat2, &f, f.n, "byte 44: address 0x12345");
    refuse(event_parse_aedat2, &f, f.n - 1, "byte 44: an event of 8 bytes");
}

/* Goal: rows of labels, with either line end; what is no row is refused at its line. */
Test(event_aedat, label_files)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "a,b,c\n1,5,9\n11,9,20\r\n2,3,4", NULL },  { "a,b,c\n", "no row" },
        { "", "no row" },                            { "a\n1,2\n", "line 2: is not" },
        { "a\n1,2,3\n0,1,2\n", "line 3: class 0" },  { "a\n12,1,2\n", "line 2: class 12" },
        { "a\n1,9,9\n", "line 2: ends at 9" },       { "a\n1,-2,3\n", "line 2: is not" },
        { "a\n1,2,3,4\n", "line 2: is not" },        { "a\n1,2,99999999999999999\n", "line 2: is" },
        { "a\n1,2,3\n\n", "line 3: is not" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event_segment s[EVENT_SEGMENTS_MAX];
        size_t n = 0;
        struct err e = { 0 };
        const int rc = event_parse_segments((const uint8_t *)cases[i].text, strlen(cases[i].text),
                                            11, s, &n, &e);
        if (cases[i].words != NULL) {
            cr_expect(rc == ERR_DATA && strstr(e.text, cases[i].words) != NULL, "%zu: %s", i,
                      e.text);
            continue;
        }
        cr_expect(rc == 0 && n == 3, "%s", e.text);
        cr_expect(s[1].class == 10 && s[1].begin == 9 && s[1].end == 20 && s[2].end == 4);
    }
}

/* Goal: the real label file is read. */
Test(event_aedat, real_labels)
{
    const char *dir = getenv("SPIKED_TEST_DATA");
    if (dir == NULL || dir[0] == '\0') cr_skip("SPIKED_TEST_DATA is not set");
    char path[512];
    uint8_t bytes[1024];
    struct event_segment s[EVENT_SEGMENTS_MAX];
    struct err e = { 0 };
    size_t count;
    (void)snprintf(path, sizeof path, "%s/event-samples/dvsgesture_user01_natural_labels.csv", dir);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f);
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    (void)fclose(f);
    cr_assert_eq(event_parse_segments(bytes, n, 11, s, &count, &e), 0, "%s", e.text);
    cr_assert_eq(count, 12);
    cr_assert(s[0].class == 0 && s[0].begin == 53036986 && s[0].end == 59508469);
    cr_assert(s[11].class == 10 && s[11].end == 177991967);
}

/* A recording whose events lie in row `row`, one each 10 us from 0 on. */
static void write_gesture(const char *name, uint32_t row, uint32_t events)
{
    struct file f = { .n = 0 };
    text(&f, head3);
    packet(&f, 1, 0, events, events);
    for (uint32_t i = 0; i < events; i++) polarity(&f, i, row, 1, 1, 10 * i);
    folder_write(name, f.at, f.n);
}

static int open_as(struct dataset **d, const char *name, struct err *e)
{
    struct spec_dataset spec = { .frames = { .split_by = SPEC_SPLIT_NUMBER } };
    const struct dataset_request r = { &spec, 2, NULL };
    (void)snprintf(spec.name, sizeof spec.name, "%s", name);
    return event_files_open(d, folder, &r, e);
}

/* Events of a sample: how many, and where the first one is. */
static size_t events_of(const struct dataset *d, enum dataset_part part, size_t i, size_t *first)
{
    float *x = mem_calloc(2 * CELLS, sizeof x[0]);
    size_t sum = 0;
    *first = SIZE_MAX;
    d->ops->read(d, part, i, x);
    for (size_t k = 0; k < 2 * CELLS; k++) {
        if (x[k] > 0 && *first == SIZE_MAX) *first = k % CELLS; /* [p][y][x] */
        sum += (size_t)x[k];
    }
    mem_free(x);
    return sum;
}

/* Goal: each row of a label file is a sample, users 1 to 23 train, begin and end hold. */
Test(event_aedat, gestures_are_cut_by_their_labels, .timeout = 10)
{
    static const char labels[] = "class,startTime_usec,endTime_usec\n3,0,50\n11,55,100\n";
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    write_gesture("DvsGesture/user23_lab.aedat", 7, 20);
    write_gesture("DvsGesture/user02_fluorescent_led.aedat", 9, 20);
    write_gesture("DvsGesture/user24_natural.aedat", 1, 20);
    write_gesture("DvsGesture/user25_natural.aedat", 1, 20); /* has no labels: is not used */
    folder_write("DvsGesture/user23_lab_labels.csv", labels, strlen(labels));
    folder_write("DvsGesture/user02_fluorescent_led_labels.csv", labels, strlen(labels));
    folder_write("DvsGesture/user24_natural_labels.csv", labels, strlen(labels) - 10);
    folder_write("DvsGesture/trials_to_train.txt", "user02_fluorescent_led.aedat\n", 29);
    cr_assert_eq(open_as(&d, "dvs128-gesture", &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 4 && d->count[DATASET_TEST] == 1 && d->classes == 11);
    static const size_t row[4] = { 9, 9, 7, 7 }, from[4] = { 0, 6, 0, 6 }, n[4] = { 5, 4, 5, 4 };
    for (size_t i = 0; i < 4; i++) {
        size_t first;
        cr_assert_eq(events_of(d, DATASET_TRAIN, i, &first), n[i], "sample %zu", i);
        cr_assert_eq(first, (SIDE + row[i]) * SIDE + from[i]);
        cr_assert_eq(d->ops->label(d, DATASET_TRAIN, i), i % 2 == 0 ? 2 : 10);
    }
    dataset_close(d);
    folder_write("DvsGesture/user29_led_labels.csv", labels, strlen(labels));
    cr_assert_eq(open_as(&d, "dvs128-gesture", &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "user29_led.aedat: there is no such"), "%s", e.text);
    folder_write("DvsGesture/user29_dark_labels.csv", labels, strlen(labels));
    cr_assert_eq(open_as(&d, "dvs128-gesture", &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "user29_dark_labels.csv: a light"), "%s", e.text);
    folder_remove();
}

/* Goal: two lights of one user stay apart, each with its rows in order. */
Test(event_aedat, lights_of_a_user_stay_apart, .timeout = 10)
{
    static const char labels[] = "class,startTime_usec,endTime_usec\n1,0,50\n1,55,100\n";
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    write_gesture("a/user01_led.aedat", 4, 20);
    write_gesture("a/user01_lab.aedat", 3, 20);
    write_gesture("a/user24_lab.aedat", 3, 20);
    folder_write("a/user01_led_labels.csv", labels, strlen(labels));
    folder_write("a/user01_lab_labels.csv", labels, strlen(labels));
    folder_write("a/user24_lab_labels.csv", labels, strlen(labels));
    cr_assert_eq(open_as(&d, "dvs128-gesture", &e), 0, "%s", e.text);
    cr_assert_eq(d->count[DATASET_TRAIN], 4);
    for (size_t i = 0; i < 4; i++) {
        size_t first;
        (void)events_of(d, DATASET_TRAIN, i, &first);
        cr_assert_eq(first / SIDE - SIDE, 3 + i / 2, "sample %zu", i);
        cr_assert_eq(first % SIDE, i % 2 == 0 ? 0 : 6, "sample %zu", i);
    }
    dataset_close(d);
    folder_remove();
}

/* Goal: class by folder, part by number. */
Test(event_aedat, cifar10_dvs_by_class_and_number, .timeout = 10)
{
    struct file f = { .n = 0 };
    struct dataset *d;
    struct err e = { 0 };
    text(&f, head2);
    big(&f, 10u << 8 | 20u << 1 | 1);
    big(&f, 5);
    folder_make();
    folder_write("truck/cifar10_truck_899.aedat", f.at, f.n);
    folder_write("airplane/cifar10_airplane_0.aedat", f.at, f.n);
    folder_write("dog/cifar10_dog_900.aedat", f.at, f.n);
    cr_assert_eq(open_as(&d, "cifar10-dvs", &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 2 && d->count[DATASET_TEST] == 1);
    cr_assert(d->ops->label(d, DATASET_TRAIN, 0) == 0 && d->ops->label(d, DATASET_TRAIN, 1) == 9 &&
              d->ops->label(d, DATASET_TEST, 0) == 5);
    size_t first;
    cr_assert_eq(events_of(d, DATASET_TRAIN, 0, &first), 1);
    cr_assert_eq(first, 107 * SIDE + 117);
    dataset_close(d);
    folder_write("cow/cifar10_cow_1.aedat", f.at, f.n);
    cr_assert_eq(open_as(&d, "cifar10-dvs", &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "no class of CIFAR-10"), "%s", e.text);
    folder_remove();
}
