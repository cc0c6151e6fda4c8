/* Points exactly once: frames into metrics.db and out again. */
#include "server/store/metrics_store.h"

#include "common/mem.h"
#include "server/store/migrate.h"
#include "server/store/stmt.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define X 7 /* the experiment of these tests */

static char folder[64], records[80];

static sqlite3 *open_db(void)
{
    sqlite3 *db;
    struct err e = { 0 };
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-metrics-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    (void)snprintf(records, sizeof records, "%s/records.bin", folder);
    cr_assert_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    cr_assert_eq(migrate_run(db, "metrics_", &e), 0, "%s", e.text);
    return db;
}

static void close_db(sqlite3 *db)
{
    cr_assert_eq(sqlite3_close(db), SQLITE_OK);
    (void)unlink(records);
    (void)rmdir(folder);
}

/* One frame of a series: steps first .. last, value = step * scale. */
static void put(struct wire_buf *b, uint64_t frame, const char *name, uint64_t first, uint64_t last,
                double scale)
{
    struct point p[200];
    struct err e = { 0 };
    size_t n = 0;
    for (uint64_t s = first; s <= last; s++)
        p[n++] = (struct point){ s, (int64_t)(1000 + s), (double)s * scale };
    const struct wire_series series = { name, p, n };
    cr_assert_eq(wire_put_points(b, frame, &series, 1, &e), 0, "%s", e.text);
}

/* How many slices it took. */
static int delete_all(sqlite3 *db)
{
    struct err e = { 0 };
    bool more = true;
    int n = 0;
    for (; more; n++) cr_assert_eq(metrics_delete(db, X, &more, &e), 0, "%s", e.text);
    return n;
}

static int64_t rows(sqlite3 *db, const char *sql)
{
    struct stmt s;
    struct err e = { 0 };
    cr_assert_eq(stmt_prepare(&s, db, sql, &e), 0, "%s", e.text);
    const int64_t n = stmt_step(&s, &e) == 1 ? stmt_int(&s, 0) : -1;
    stmt_finish(&s);
    return n;
}

static uint64_t ingest(sqlite3 *db, int64_t attempt, uint64_t until, const struct wire_buf *b)
{
    struct metrics_result r = { 0 };
    struct err e = { 0 };
    cr_assert_eq(metrics_ingest(db, X, attempt, until, b->data, b->length, records, &r, &e), 0,
                 "%s", e.text);
    const uint64_t acked = r.acked_frame;
    metrics_result_deinit(&r);
    return acked;
}

static cJSON *points(sqlite3 *db, const char *name, int64_t max)
{
    cJSON *json;
    struct err e = { 0 };
    const struct metrics_range range = { name, 0, 0, max };
    cr_assert_eq(metrics_read_points(db, X, &range, &json, &e), 0, "%s", e.text);
    return json;
}

static int count(sqlite3 *db, const char *name)
{
    cJSON *json = points(db, name, 10000);
    const int n = cJSON_GetArraySize(json_get(json, "points"));
    cJSON_Delete(json);
    return n;
}

/* The row of a series in the body of GET metrics; caller deletes *all. */
static const cJSON *summary(sqlite3 *db, const char *name, cJSON **all)
{
    struct err e = { 0 };
    const cJSON *item;
    cr_assert_eq(metrics_read_series(db, X, all, &e), 0);
    cJSON_ArrayForEach(item, json_get(*all, "items"))
        if (strcmp(json_get_string(item, "name", ""), name) == 0) return item;
    return NULL;
}

/* Goal: frames sent again, whole or in part, count once; the acknowledgement never goes back. */
Test(metrics_store, frames_count_once)
{
    sqlite3 *db = open_db();
    struct wire_buf first = { 0 }, again = { 0 };
    put(&first, 1, "train/loss", 1, 10, 1);
    put(&first, 2, "train/loss", 11, 20, 1);
    put(&again, 2, "train/loss", 11, 20, 1);
    put(&again, 3, "train/loss", 21, 25, 1);
    cr_assert_eq(ingest(db, 1, 0, &first), 2);
    cr_assert_eq(ingest(db, 1, 0, &first), 2);
    cr_assert_eq(ingest(db, 1, 0, &again), 3);
    cr_assert_eq(count(db, "train/loss"), 25);
    uint64_t acked = 0;
    struct err e = { 0 };
    cr_assert(metrics_acked(db, X, 1, &acked, &e) == 0 && acked == 3);
    wire_buf_deinit(&first);
    wire_buf_deinit(&again);
    close_db(db);
}

/* Goal: of an earlier attempt only the steps before the one resumed from are taken. */
Test(metrics_store, leftovers_end_at_the_resume_step)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 };
    put(&b, 1, "train/loss", 1, 30, 1);
    cr_assert_eq(ingest(db, 1, 12, &b), 1);
    cr_assert_eq(count(db, "train/loss"), 12);
    wire_buf_deinit(&b);
    close_db(db);
}

/* Goal: a cut takes away later points and mends the summaries, as if they had never been. */
Test(metrics_store, a_cut_mends_the_summaries)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 }, more = { 0 };
    struct err e = { 0 };
    put(&b, 1, "train/loss", 1, 100, -1);
    put(&b, 2, "val/loss", 80, 80, 1);
    (void)ingest(db, 1, 0, &b);
    cr_assert_eq(metrics_cut(db, X, 40, &e), 0, "%s", e.text);
    cJSON *all;
    const cJSON *s = summary(db, "train/loss", &all);
    cr_assert(s != NULL && json_get_int(s, "n", 0) == 40 && json_get_number(s, "last", 0) == -40 &&
              json_get_number(s, "min", 0) == -40 && json_get_number(s, "max", 0) == -1);
    cJSON_Delete(all);
    s = summary(db, "val/loss", &all);
    cr_assert(s == NULL || json_get_int(s, "n", -1) == 0);
    cJSON_Delete(all);
    put(&more, 1, "train/loss", 41, 60, -1);
    cr_assert_eq(ingest(db, 2, 0, &more), 1);
    cr_assert_eq(count(db, "train/loss"), 60);
    wire_buf_deinit(&b);
    wire_buf_deinit(&more);
    close_db(db);
}

/* Goal: more points than asked for come as buckets that keep first, last, least and largest. */
Test(metrics_store, long_series_come_as_buckets)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 };
    put(&b, 1, "train/loss", 1, 200, 0.5);
    (void)ingest(db, 1, 0, &b);
    cJSON *json = points(db, "train/loss", 10);
    const cJSON *buckets = json_get(json, "buckets");
    cr_assert(cJSON_IsNull(json_get(json, "points")) && cJSON_GetArraySize(buckets) == 10);
    const cJSON *last = cJSON_GetArrayItem(buckets, 9);
    cr_assert(cJSON_GetArrayItem(last, 1)->valuedouble == 200 &&
              cJSON_GetArrayItem(last, 3)->valuedouble == 100 &&
              cJSON_GetArrayItem(last, 2)->valuedouble ==
                  0.5 * cJSON_GetArrayItem(last, 0)->valuedouble);
    cJSON_Delete(json);
    wire_buf_deinit(&b);
    close_db(db);
}

/* Goal: values that JSON has no number for are kept and told by name. */
Test(metrics_store, values_that_are_not_finite)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 };
    struct err e = { 0 };
    const struct point p[3] = { { 1, 1, NAN }, { 2, 2, INFINITY }, { 3, 3, -INFINITY } };
    const struct wire_series s = { "train/loss", p, 3 };
    cr_assert_eq(wire_put_points(&b, 1, &s, 1, &e), 0);
    (void)ingest(db, 1, 0, &b);
    cJSON *json = points(db, "train/loss", 10);
    char *text = json_print(json_get(json, "points"), NULL);
    cr_assert_str_eq(text, "[[1,1,\"NaN\"],[2,2,\"Infinity\"],[3,3,\"-Infinity\"]]");
    mem_free(text);
    cJSON_Delete(json);
    wire_buf_deinit(&b);
    close_db(db);
}

/* Goal: a record comes back byte for byte, the last one by name, and goes when the experiment goes.
 */
Test(metrics_store, records_come_back)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 };
    struct err e = { 0 };
    for (uint64_t i = 1; i <= 3; i++) {
        const unsigned char bits[2] = { (unsigned char)i, 0xA5 };
        const struct record r = { .kind = RECORD_RASTER,
                                  .layer = "2",
                                  .step = 10 * i,
                                  .epoch = (uint32_t)i,
                                  .time_ms = 5,
                                  .n_dims = 2,
                                  .dims = { 2, 8 },
                                  .encoding = RECORD_RAW,
                                  .data = bits,
                                  .data_bytes = 2 };
        cr_assert_eq(wire_put_record(&b, i, &r, &e), 0);
    }
    cr_assert_eq(ingest(db, 1, 0, &b), 3);
    cr_assert_eq(ingest(db, 1, 0, &b), 3);
    struct metrics_record got;
    cr_assert_eq(metrics_read_record(db, X, "2", "raster", -1, records, &got, &e), 0, "%s", e.text);
    cr_assert(got.index == 2 && got.step == 30 && got.length == 2 && got.data[0] == 3 &&
              got.data[1] == 0xA5);
    cr_assert_str_eq(got.dims, "[2,8]");
    mem_free(got.data);
    cr_assert_eq(metrics_read_record(db, X, "2", "raster", 3, records, &got, &e), ERR_NOT_FOUND);
    err_clear(&e);
    cr_assert_eq(metrics_cut(db, X, 20, &e), 0);
    cr_assert(metrics_read_record(db, X, "2", "raster", -1, records, &got, &e) == 0 &&
              got.step == 20);
    mem_free(got.data);
    (void)delete_all(db);
    cr_assert_eq(metrics_read_record(db, X, "2", "raster", -1, records, &got, &e), ERR_NOT_FOUND);
    wire_buf_deinit(&b);
    close_db(db);
}

/* Goal: an experiment of many points goes in slices that are short transactions, and others keep
 * theirs. */
Test(metrics_store, is_deleted_in_slices, .timeout = 10)
{
    sqlite3 *db = open_db();
    struct err e = { 0 };
    struct wire_buf b = { 0 };
    put(&b, 1, "train/loss", 1, 3, 1);
    cr_assert_eq(ingest(db, 1, 0, &b), 1);
    cr_assert(stmt_exec(db,
                        "INSERT INTO series SELECT 900,8,name,n,last,last_step,min,min_step,max,"
                        "max_step FROM series; INSERT INTO chunk(series,seq,step0,step1,points)"
                        " SELECT series.id,100+i,0,0,x'' FROM series, (WITH RECURSIVE n(i) AS"
                        " (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1200) SELECT i FROM n)",
                        &e) == 0,
              "%s", e.text);
    cr_expect_geq(delete_all(db), 5); /* three of chunks, one of each other table that has rows */
    cr_expect_eq(rows(db, "SELECT count(*) FROM chunk"), 1200);
    cr_expect_eq(rows(db, "SELECT count(*) FROM series"), 1);
    cr_expect_eq(rows(db, "SELECT count(*) FROM ack"), 0);
    wire_buf_deinit(&b);
    close_db(db);
}

static void put_profile(struct wire_buf *b, uint64_t number, const char *text, bool packed)
{
    static char room[1000];
    struct err e = { 0 };
    const size_t n = ZSTD_compress(room, sizeof room, text, strlen(text), 1);
    const struct record r = { .kind = RECORD_PROFILE,
                              .layer = "@net",
                              .step = number,
                              .n_dims = 1,
                              .dims = { 1 },
                              .encoding = packed ? RECORD_ZSTD : RECORD_RAW,
                              .data = packed ? room : text,
                              .data_bytes = (uint32_t)(packed ? n : strlen(text)) };
    cr_assert_eq(wire_put_record(b, number, &r, &e), 0);
}

/* Goal: a profile comes out with its frame, compressed or not, and can be read again; one that is
 * no JSON object is refused. */
Test(metrics_store, profiles_are_handed_on)
{
    sqlite3 *db = open_db();
    struct err e = { 0 };
    struct metrics_record got;
    static const char *const texts[] = { "{\"step_ms\":1}", "{\"step_ms\":2}" };
    for (uint64_t i = 0; i < 2; i++) {
        struct wire_buf b = { 0 };
        struct metrics_result r = { 0 };
        put_profile(&b, i + 1, texts[i], i == 1);
        cr_assert_eq(metrics_ingest(db, X, 1, 0, b.data, b.length, records, &r, &e), 0, "%s",
                     e.text);
        const cJSON *record = cJSON_GetArrayItem(r.records, 0);
        cr_assert_eq(json_get_int(json_get(record, "profile"), "step_ms", 0), (int64_t)i + 1);
        cr_assert_eq(metrics_read_record(db, X, "@net", "profile", -1, records, &got, &e), 0);
        cr_assert(got.length == strlen(texts[i]) && memcmp(got.data, texts[i], got.length) == 0);
        mem_free(got.data);
        metrics_result_deinit(&r);
        wire_buf_deinit(&b);
    }
    static const char *const damaged[] = { "{\"step_ms\":", "[1]", "", "{} {}" };
    for (size_t i = 0; i < 4; i++) {
        struct wire_buf b = { 0 };
        struct metrics_result r = { 0 };
        put_profile(&b, 3, damaged[i], false);
        cr_assert_eq(metrics_ingest(db, X, 1, 0, b.data, b.length, records, &r, &e), ERR_INVALID,
                     "%s", damaged[i]);
        metrics_result_deinit(&r);
        wire_buf_deinit(&b);
    }
    close_db(db);
}

/* Goal: a message with more series than are gathered at a time tells of every point. */
Test(metrics_store, many_series_in_a_message_are_all_told)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 };
    struct err e = { 0 };
    struct metrics_result r = { 0 };
    char name[20];
    size_t told = 0;
    for (uint64_t i = 1; i <= GATHER_SERIES_MAX + 5; i++) {
        (void)snprintf(name, sizeof name, "s%llu", (unsigned long long)i);
        put(&b, i, name, 1, 2, 1);
    }
    cr_assert_eq(metrics_ingest(db, X, 1, 0, b.data, b.length, records, &r, &e), 0, "%s", e.text);
    for (size_t i = 0; i < r.n_lots; i++) told += gather_points_count(&r.lots[i]);
    cr_assert(r.n_lots == 2 && told == r.n_points && told == 2 * (GATHER_SERIES_MAX + 5));
    metrics_result_deinit(&r);
    wire_buf_deinit(&b);
    close_db(db);
}

/* Goal: damaged frames are refused and nothing of them is kept. */
Test(metrics_store, damaged_frames_are_refused)
{
    sqlite3 *db = open_db();
    struct wire_buf b = { 0 };
    struct err e = { 0 };
    struct metrics_result r = { 0 };
    put(&b, 1, "train/loss", 1, 10, 1);
    b.data[b.length - 3] ^= 0x40;
    cr_assert_eq(metrics_ingest(db, X, 1, 0, b.data, b.length, records, &r, &e), ERR_INVALID);
    metrics_result_deinit(&r);
    cJSON *all;
    cr_assert(summary(db, "train/loss", &all) == NULL);
    cJSON_Delete(all);
    wire_buf_deinit(&b);
    close_db(db);
}
