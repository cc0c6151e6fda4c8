/* Event recordings: bytes to events, the order of samples, archives, and faults that name file and
 * byte. N-MNIST's real recordings where they are. */
#include "worker/data/event_bytes.h"
#include "tests/unit/data/data_fixture.h"
#include "tests/unit/data/folder_fixture.h"

#include "common/mem.h"
#include "worker/data/frame_store.h"

#include <archive.h>
#include <archive_entry.h>
#include <criterion/criterion.h>

#define CELLS (2 * 34 * 34)

static void put(uint8_t *to, unsigned x, unsigned y, unsigned p, unsigned t)
{
    const uint8_t event[5] = { (uint8_t)x, (uint8_t)y, (uint8_t)(p << 7 | t >> 16),
                               (uint8_t)(t >> 8), (uint8_t)t };
    memcpy(to, event, 5);
}

/* ---- bytes ----------------------------------------------------------------------------------- */
static const struct event_sensor sensor = { 34, 34 };

/* Goal: x, y, polarity and 23 bits of time; an overflow adds 2^13 us and is no event; events out of
 * order are put in order, equal times stay as they are. */
Test(event_bytes, atis_records)
{
    uint8_t b[40];
    struct event_list l = { 0 };
    struct err e = { 0 };
    put(b, 33, 1, 1, 0x7fffff);
    put(b + 5, 2, 33, 0, 70);
    put(b + 10, 3, 4, 1, 70);
    put(b + 15, 0, 240, 0, 0);
    put(b + 20, 5, 6, 1, 1);
    put(b + 25, 7, 8, 0, 0);
    put(b + 30, 0, 240, 1, 9);
    put(b + 35, 9, 9, 1, 2);
    cr_assert_eq(event_parse_atis(b, sizeof b, sensor, &l, &e), 0, "%s", e.text);
    const struct event want[] = { { 70, 2, 33, 0 }, { 70, 3, 4, 1 }, { 8192, 7, 8, 0 },
                                  { 8193, 5, 6, 1 }, { 16386, 9, 9, 1 }, { 0x7fffff, 33, 1, 1 } };
    cr_assert_eq(l.count, 6);
    for (size_t i = 0; i < 6; i++)
        cr_assert(l.at[i].t == want[i].t && l.at[i].x == want[i].x && l.at[i].y == want[i].y &&
                  l.at[i].p == want[i].p, "event %zu", i);
    event_list_deinit(&l);
}

/* Goal: what is cut off, lies outside or is empty is refused at its byte. */
Test(event_bytes, atis_faults_name_the_byte)
{
    static const struct {
        unsigned x, y;
        size_t n;
        const char *words;
    } cases[] = { { 1, 1, 13, "byte 10" }, { 34, 1, 15, "byte 10: an event at x 34, y 1" },
                  { 1, 34, 15, "byte 10: an event at x 1, y 34" }, { 1, 1, 0, "no event" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t b[15];
        struct event_list l = { 0 };
        struct err e = { 0 };
        put(b, 1, 1, 1, 1);
        put(b + 5, 1, 1, 1, 2);
        put(b + 10, cases[i].x, cases[i].y, 1, 3);
        cr_assert_eq(event_parse_atis(b, cases[i].n, sensor, &l, &e), ERR_DATA);
        cr_assert_not_null(strstr(e.text, cases[i].words), "%s", e.text);
        event_list_deinit(&l);
    }
}

/* Goal: sorting is stable for any number of events. */
Test(event_bytes, sorting_is_stable, .timeout = 10)
{
    for (size_t n = 1; n < 70; n++) {
        struct event_list l = { .at = mem_calloc(n, sizeof(struct event)), .count = n,
                                .capacity = n };
        struct err e = { 0 };
        for (size_t i = 0; i < n; i++)
            l.at[i] = (struct event){ (int64_t)(i * 7919 % 13), (uint16_t)i, 0, 0 };
        cr_assert_eq(event_list_sort(&l, &e), 0);
        for (size_t i = 1; i < n; i++)
            cr_assert(l.at[i - 1].t < l.at[i].t ||
                      (l.at[i - 1].t == l.at[i].t && l.at[i - 1].x < l.at[i].x));
        event_list_deinit(&l);
    }
}

/* ---- folders --------------------------------------------------------------------------------- */
/* Four training and two test recordings; recording k has k + 1 events, one a pixel, in row k. */
static const char *const names[6] = { "N-MNIST/Train/7/00010.bin", "N-MNIST/Train/3/00002.bin",
                                      "N-MNIST/Train/0/00001.bin", "N-MNIST/Train/7/00300.bin",
                                      "N-MNIST/Test/1/00001.bin", "N-MNIST/Test/9/00002.bin" };
static size_t recording(size_t k, uint8_t *to)
{
    for (unsigned i = 0; i <= k; i++) put(to + 5 * i, i, (unsigned)k, i % 2, 10 * i);
    return 5 * (k + 1);
}

static void write_recordings(void)
{
    uint8_t b[64];
    folder_make();
    for (size_t k = 0; k < 6; k++) folder_write(names[k], b, recording(k, b));
    folder_write("N-MNIST/ReadMe.txt", "hello", 5);
    folder_write("N-MNIST/Train/.hidden", "?", 1);
}

static int open_folder(struct dataset **d, size_t time_steps, int64_t train_limit, struct err *e)
{
    struct spec_dataset spec = { .name = "n-mnist", .train_limit = train_limit,
                                 .frames = { .split_by = SPEC_SPLIT_NUMBER } };
    const struct dataset_request r = { &spec, time_steps, NULL };
    return event_files_open(d, folder, &r, e);
}

/* The events of a sample, summed over frames: row k has k + 1 of them when it is recording k. */
static size_t which(const struct dataset *d, enum dataset_part part, size_t i)
{
    float *x = mem_calloc(d->t * CELLS, sizeof x[0]);
    size_t sum = 0, row = 99;
    d->ops->read(d, part, i, x);
    for (size_t k = 0; k < d->t * CELLS; k++)
        if (x[k] > 0) {
            sum += (size_t)x[k];
            row = k / 34 % 34;
        }
    mem_free(x);
    cr_assert_eq(sum, row + 1);
    return row;
}

static void expect_recordings(const struct dataset *d)
{
    static const size_t order[4] = { 2, 1, 0, 3 }; /* by number */
    static const uint32_t labels[6] = { 7, 3, 0, 7, 1, 9 };
    cr_assert(d->count[DATASET_TRAIN] == 4 && d->count[DATASET_TEST] == 2 && d->classes == 10);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(which(d, DATASET_TRAIN, i), order[i]);
        cr_assert_eq(d->ops->label(d, DATASET_TRAIN, i), labels[order[i]]);
    }
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(which(d, DATASET_TEST, i), 4 + i);
        cr_assert_eq(d->ops->label(d, DATASET_TEST, i), labels[4 + i]);
    }
}

/* All files into folder/NAME as an archive, the last one first; bytes n[k] of recording k. */
static void write_archive(const char *name, bool zip)
{
    char path[160];
    uint8_t b[64];
    struct archive *a = archive_write_new();
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (zip) {
        archive_write_set_format_zip(a);
    } else {
        archive_write_set_format_pax_restricted(a);
        archive_write_add_filter_xz(a);
    }
    cr_assert_eq(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (size_t k = 6; k-- > 0;) {
        const size_t n = recording(k, b);
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, names[k]);
        archive_entry_set_size(entry, (la_int64_t)n);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        cr_assert_eq(archive_write_header(a, entry), ARCHIVE_OK);
        cr_assert_eq(archive_write_data(a, b, n), (la_ssize_t)n);
        archive_entry_free(entry);
    }
    cr_assert_eq(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

/* Goal: samples come by their number, whatever the folder's order; a limit keeps the first ones;
 * archives give the same samples and the same digest as unpacked files. */
Test(event_files, folders_and_archives_are_the_same, .timeout = 20)
{
    struct dataset *d;
    struct err e = { 0 };
    uint8_t digest[DIGEST_BYTES];
    write_recordings();
    cr_assert_eq(open_folder(&d, 3, 0, &e), 0, "%s", e.text);
    expect_recordings(d);
    cr_assert_eq(d->bytes, 6 * (3 * CELLS + 1));
    memcpy(digest, d->digest, sizeof digest);
    dataset_close(d);
    cr_assert_eq(open_folder(&d, 3, 2, &e), 0, "%s", e.text);
    cr_assert_eq(d->count[DATASET_TRAIN], 2);
    cr_assert_eq(which(d, DATASET_TRAIN, 0), 2);
    cr_assert_eq(which(d, DATASET_TRAIN, 1), 1);
    dataset_close(d);
    folder_remove();
    for (int zip = 0; zip < 2; zip++) {
        folder_make();
        write_archive(zip ? "all.zip" : "all.tar.xz", zip);
        cr_assert_eq(open_folder(&d, 3, 0, &e), 0, "%s", e.text);
        expect_recordings(d);
        cr_assert_arr_eq(d->digest, digest, sizeof digest);
        dataset_close(d);
        folder_remove();
    }
}

/* One more file, or another content of one; opening must fail with these words. */
static void expect_fault(const char *name, const void *bytes, size_t n, const char *words)
{
    struct dataset *d = NULL;
    struct err e = { 0 };
    write_recordings();
    folder_write(name, bytes, n);
    cr_assert_eq(open_folder(&d, 3, 0, &e), ERR_DATA, "%s: %s", name, e.text);
    cr_assert_not_null(strstr(e.text, words), "'%s' is not in: %s", words, e.text);
    folder_remove();
}

/* Goal: faults name the file and the byte. */
Test(event_files, faults_name_the_file, .timeout = 20)
{
    uint8_t b[20];
    for (unsigned i = 0; i < 4; i++) put(b + 5 * i, 40, 1, 0, i);
    expect_fault("N-MNIST/Train/3/00002.bin", b, 20, "N-MNIST/Train/3/00002.bin: byte 0: an event");
    expect_fault("N-MNIST/Test/9/00002.bin", b, 4, "N-MNIST/Test/9/00002.bin: byte 0: an event of");
    expect_fault("N-MNIST/Test/x/00003.bin", b, 5, "N-MNIST/Test/x/00003.bin: its folder");
    expect_fault("N-MNIST/Test/1/12a.bin", b, 5, "N-MNIST/Test/1/12a.bin: a recording is called");
    expect_fault("copy/Test/1/00001.bin", b, 5, "are the same sample");
    struct dataset *d;
    struct err e = { 0 };
    folder_make();
    cr_assert_eq(open_folder(&d, 3, 0, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "no training recording"), "%s", e.text);
    folder_write("all.zip", "PK\3\4 what is this", 18);
    cr_assert_eq(open_folder(&d, 3, 0, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "all.zip"), "%s", e.text);
    folder_remove();
}

/* Goal: a count above 255 makes room for all; what was stored before is kept. */
Test(frame_store, widens_without_a_loss)
{
    struct frame_store s;
    struct err e = { 0 };
    float x[3] = { 255, 0, 7 };
    cr_assert_eq(frame_store_init(&s, 2, 3, &e), 0);
    cr_assert_eq(frame_store_put(&s, 1, x, &e), 0);
    cr_assert_eq(frame_store_bytes(&s), 6);
    x[1] = 256;
    cr_assert_eq(frame_store_put(&s, 0, x, &e), 0);
    cr_assert_eq(frame_store_bytes(&s), 12);
    frame_store_get(&s, 0, x);
    cr_assert(x[0] == 255 && x[1] == 256 && x[2] == 7);
    frame_store_get(&s, 1, x);
    cr_assert(x[0] == 255 && x[1] == 0 && x[2] == 7);
    x[1] = 65536;
    cr_assert_eq(frame_store_put(&s, 0, x, &e), ERR_DATA);
    frame_store_deinit(&s);
    cr_assert_eq(frame_store_init(&s, (size_t)1 << 32, 10, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "train_limit"), "%s", e.text);
    frame_store_deinit(&s);
}

/* Goal: counts above 255 need two bytes and stay exact. */
Test(event_files, many_events_on_one_pixel, .timeout = 20)
{
    struct dataset *d;
    struct err e = { 0 };
    uint8_t *b = mem_calloc(70000, 5);
    float x[CELLS];
    write_recordings();
    for (unsigned i = 0; i < 70000; i++) put(b + 5 * i, 3, 4, 1, i);
    folder_write("N-MNIST/Train/5/00020.bin", b, 5 * 60000);
    cr_assert_eq(open_folder(&d, 1, 0, &e), 0, "%s", e.text);
    d->ops->read(d, DATASET_TRAIN, 3, x);
    cr_assert_eq(x[(34 + 4) * 34 + 3], 60000.0f);
    cr_assert_eq(which(d, DATASET_TRAIN, 0), 2, "what was stored before is kept");
    dataset_close(d);
    folder_write("N-MNIST/Train/5/00020.bin", b, 5 * 70000);
    cr_assert_eq(open_folder(&d, 1, 0, &e), ERR_DATA);
    cr_assert_not_null(strstr(e.text, "00020.bin: 70000 events on one pixel"), "%s", e.text);
    folder_remove();
    mem_free(b);
}

/* Goal: any allocation may fail; then opening says so and leaves nothing behind. */
Test(event_files, memory_faults_are_reported, .timeout = 30)
{
    struct dataset *d;
    struct err e = { 0 };
    write_recordings();
    int rc = ERR_NOMEM;
    size_t n = 1;
    for (; rc != 0 && n < 200; n++) {
        mem_fail_after(n);
        rc = open_folder(&d, 2, 0, &e);
        mem_fail_after(0);
        cr_assert(rc == 0 || rc == ERR_NOMEM, "allocation %zu: %s", n, e.text);
    }
    cr_assert(rc == 0 && n > 15, "%zu", n);
    dataset_close(d);
    folder_remove();
}

/* Goal: the real recordings: numbers and classes as published, every one with its events. */
Test(event_files, real_n_mnist, .timeout = 60)
{
    static const size_t train[10] = { 97, 116, 99, 93, 105, 92, 94, 117, 87, 100 };
    const char *dir = getenv("SPIKED_TEST_DATA");
    if (dir == NULL || dir[0] == '\0') cr_skip("SPIKED_TEST_DATA is not set");
    struct dataset *d;
    struct err e = { 0 };
    const struct spec_frames frames = { .split_by = SPEC_SPLIT_TIME };
    float *x = mem_calloc(5 * CELLS, sizeof x[0]);
    size_t count[10] = { 0 };
    double all = 0, least = 1e9, most = 0;
    cr_assert_eq(open_steps(&d, "n-mnist", 5, frames, dir, &e), 0, "%s", e.text);
    cr_assert(d->count[DATASET_TRAIN] == 1000 && d->count[DATASET_TEST] == 100);
    for (size_t i = 0; i < 1100; i++) {
        const enum dataset_part part = i < 1000 ? DATASET_TRAIN : DATASET_TEST;
        double sum = 0;
        d->ops->read(d, part, i % 1000, x);
        for (size_t k = 0; k < 5 * CELLS; k++) sum += (double)x[k];
        all += sum;
        least = sum < least ? sum : least;
        most = sum > most ? sum : most;
        if (part == DATASET_TRAIN) count[d->ops->label(d, part, i)]++;
    }
    for (int c = 0; c < 10; c++) cr_assert_eq(count[c], train[c], "class %d", c);
    cr_assert(least == 1069 && most == 7152, "%g to %g events", least, most);
    cr_assert(all / 1100 > 4107.5 && all / 1100 < 4108.5, "mean %g", all / 1100);
    cr_assert_eq(d->ops->label(d, DATASET_TRAIN, 0), 5, "MNIST begins with a five");
    dataset_close(d);
    mem_free(x);
}
