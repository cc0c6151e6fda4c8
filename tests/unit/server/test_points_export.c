/* Every point as text, part by part, and in pages. */
#include "tests/unit/server/metrics_bench.h"

#include "common/mem.h"
#include "server/store/points_export.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define N 1500

static void fill(struct point *p, double scale)
{
    for (size_t i = 0; i < N; i++)
        p[i] = (struct point){ i + 1, (int64_t)(1000 + i), scale / (double)(i + 3) };
}

/* All of it, read with that much room; caller frees. between: run once after the first part. */
static char *text_of(struct metrics_bench *b, const char *name, enum points_format format,
                     size_t room, void (*between)(struct metrics_bench *b))
{
    const struct points_export_of of = { b->path, BENCH_EXPERIMENT, name, 0, 0, format };
    struct points_export *x = NULL;
    struct err e = { 0 };
    size_t got = 1, length = 0;
    char *text = mem_calloc(1, 1 << 20);
    unsigned char part[4096];
    cr_assert_eq(points_export_open(&x, &of, &e), 0, "%s", e.text);
    while (got > 0) {
        cr_assert_eq(points_export_read(x, part, room, &got, &e), 0, "%s", e.text);
        cr_assert(got <= room && length + got < 1 << 20);
        memcpy(text + length, part, got);
        length += got;
        if (between != NULL) between(b);
        between = NULL;
    }
    points_export_close(x);
    return text;
}

/* Goal: each double comes back with its bits, all series in order, however small the parts. */
Test(points_export, text_gives_back_the_bits, .timeout = 30)
{
    struct metrics_bench b = metrics_bench_open();
    static struct point p[N];
    fill(p, 1);
    metrics_bench_put(&b, "val/loss", p, N);
    metrics_bench_put(&b, "train/loss", p, N);
    char *text = text_of(&b, "", POINTS_CSV, POINTS_LINE_MAX + 7, NULL);
    const char *at = text;
    cr_assert(strncmp(at, "series,step,time_ms,value\n", 26) == 0, "%.60s", at);
    at += 26;
    for (size_t i = 0; i < 2 * N; i++) {
        char name[40];
        uint64_t step;
        int64_t time_ms;
        double value;
        int used;
        cr_assert_eq(sscanf(at, "%39[^,],%" SCNu64 ",%" SCNd64 ",%lf\n%n", name, &step, &time_ms,
                            &value, &used),
                     4, "%.60s", at);
        const struct point *want = &p[i % N];
        cr_assert(step == want->step && time_ms == want->time_ms && value == want->value);
        cr_assert_str_eq(name, i < N ? "train/loss" : "val/loss");
        at += used;
    }
    cr_assert_eq(*at, '\0');
    mem_free(text);
    metrics_bench_close(&b);
}

/* Goal: a line of JSON each; values that JSON has no number for by name. */
Test(points_export, lines_of_json)
{
    struct metrics_bench b = metrics_bench_open();
    const struct point p[] = {
        { 1, 5, 0.1 }, { 2, 6, NAN }, { 3, 7, INFINITY }, { 4, 8, -INFINITY }
    };
    metrics_bench_put(&b, "train/loss", p, 4);
    char *text = text_of(&b, "train/loss", POINTS_NDJSON, 4096, NULL);
    cr_assert_str_eq(
        text, "{\"series\":\"train/loss\",\"step\":1,\"time_ms\":5,\"value\":0.10000000000000001}\n"
              "{\"series\":\"train/loss\",\"step\":2,\"time_ms\":6,\"value\":\"NaN\"}\n"
              "{\"series\":\"train/loss\",\"step\":3,\"time_ms\":7,\"value\":\"Infinity\"}\n"
              "{\"series\":\"train/loss\",\"step\":4,\"time_ms\":8,\"value\":\"-Infinity\"}\n");
    mem_free(text);
    metrics_bench_close(&b);
}

static void write_and_truncate(struct metrics_bench *b)
{
    const struct point more = { N + 1, 9, 0.5 };
    int in_log = -1, moved = -1;
    metrics_bench_put(b, "train/loss", &more, 1);
    cr_assert_eq(
        sqlite3_wal_checkpoint_v2(b->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &in_log, &moved),
        SQLITE_OK, "a part that was read keeps the log: %s", sqlite3_errmsg(b->db));
}

/* Goal: between two parts nothing keeps the write-ahead log, and what is written meanwhile is at
 * the end of the text. */
Test(points_export, no_read_lives_between_parts)
{
    struct metrics_bench b = metrics_bench_open();
    struct err e = { 0 };
    static struct point p[N];
    fill(p, 1);
    cr_assert_eq(stmt_exec(b.db, "PRAGMA journal_mode=WAL", &e), 0);
    metrics_bench_put(&b, "train/loss", p, N);
    char *text = text_of(&b, "train/loss", POINTS_CSV, 2000, write_and_truncate);
    cr_assert(strstr(text, "\n1501,9,0.5\n") != NULL, "%s", text + strlen(text) - 100);
    mem_free(text);
    metrics_bench_close(&b);
}

static int page(struct metrics_bench *b, const char *cursor, int64_t limit, cJSON **out,
                struct err *e)
{
    const struct metrics_range range = { "train/loss", 11, 1400, limit };
    return metrics_read_page(b->db, BENCH_EXPERIMENT, &range, cursor, out, e);
}

/* Goal: pages hold every point of the range once; a cursor of no page is refused. */
Test(points_export, pages_hold_every_point_once)
{
    struct metrics_bench b = metrics_bench_open();
    struct err e = { 0 };
    static struct point p[N];
    char cursor[40] = "";
    uint64_t next = 11;
    bool more = true;
    fill(p, 1);
    metrics_bench_put(&b, "train/loss", p, N);
    while (more) {
        cJSON *json;
        const cJSON *row;
        cr_assert_eq(page(&b, cursor, 77, &json, &e), 0, "%s", e.text);
        cJSON_ArrayForEach(row, json_get(json, "points")) {
            cr_assert_eq(cJSON_GetArrayItem(row, 0)->valuedouble, (double)next);
            cr_assert_eq(cJSON_GetArrayItem(row, 2)->valuedouble, p[next - 1].value);
            next++;
        }
        more = !cJSON_IsNull(json_get(json, "next_cursor"));
        (void)snprintf(cursor, sizeof cursor, "%s", json_get_string(json, "next_cursor", ""));
        cJSON_Delete(json);
    }
    cr_assert_eq(next, 1401);
    static const char *const wrong[] = { "x", "1", "1.", "1.2x", "-1.2", "1.513", "1.-2" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cJSON *json;
        cr_assert_eq(page(&b, wrong[i], 77, &json, &e), ERR_INVALID, "%s", wrong[i]);
    }
    metrics_bench_close(&b);
}
