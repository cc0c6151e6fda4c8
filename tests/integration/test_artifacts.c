/* The story of downloads: parts, tags and all files at once; a read that hangs holds up nobody
 * else, and readers that go away leave nothing behind. */
#include "tests/chaos/chaos_rounds.h"

#include "common/digest.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <curl/curl.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define ONE "/api/v1/experiments/1"
#define WEIGHTS ONE "/artifacts/weights.safetensors"

static struct chaos c;

static struct answer get_with(const char *path, const char *first, const char *second)
{
    const char *const headers[] = { first, second, NULL };
    return http_call(&c.s, "GET", path, NULL, headers);
}

static void expect_part(const struct answer *whole, const char *range, size_t from, size_t n)
{
    struct answer a = get_with(WEIGHTS, range, NULL);
    cr_expect_eq(a.status, 206, "%s: %ld", range, a.status);
    cr_expect(a.length == n && memcmp(a.body, whole->body + from, n) == 0, "%s", range);
    answer_free(&a);
}

static void expect_status(const char *path, const char *first, const char *second, long status,
                          size_t length)
{
    struct answer a = get_with(path, first, second);
    cr_expect(a.status == status && a.length == length, "%s: %ld, %zu bytes", first, a.status,
              a.length);
    answer_free(&a);
}

static void begin(void)
{
    chaos_open(&c, 1, 1);
    service_restart(&c.s);
    char *spec = small_spec(1, "\"seed\": 5");
    const int64_t id = submit(&c.s, spec);
    mem_free(spec);
    cr_assert(wait_state(&c.s, id, "succeeded", 60));
}

static int64_t open_files(void)
{
    char path[40];
    int64_t n = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)c.s.pid);
    DIR *dir = opendir(path);
    while (dir != NULL && readdir(dir) != NULL) n++;
    if (dir != NULL) (void)closedir(dir);
    return n;
}

/* Goal: parts are parts of the whole, the tag is the file's SHA-256 and saves a download, a part of
 * another file is never mixed in. */
Test(artifacts, parts_and_tags, .timeout = 90)
{
    begin();
    struct answer whole = http_get(&c.s, WEIGHTS);
    cr_assert(whole.status == 200 && whole.length > 1000);
    const size_t n = whole.length;
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX_MAX], same[120], only[120];
    digest_bytes(whole.body, n, digest);
    digest_hex(digest, hex);
    (void)snprintf(same, sizeof same, "ETag: \"%s\"", hex);
    cr_expect(strstr(whole.head, same) != NULL, "%s", whole.head);
    expect_part(&whole, "Range: bytes=0-9", 0, 10);
    expect_part(&whole, "Range: bytes=100-100000000", 100, n - 100);
    expect_part(&whole, "Range: bytes=-7", n - 7, 7);
    expect_status(WEIGHTS, "Range: bytes=100000000-", NULL, 416, 0);
    (void)snprintf(same, sizeof same, "If-None-Match: \"%s\"", hex);
    expect_status(WEIGHTS, same, NULL, 304, 0);
    expect_status(WEIGHTS, "If-None-Match: \"x\"", NULL, 200, n);
    (void)snprintf(only, sizeof only, "If-Range: \"%s\"", hex);
    expect_status(WEIGHTS, "Range: bytes=0-9", only, 206, 10);
    expect_status(WEIGHTS, "Range: bytes=0-9", "If-Range: \"x\"", 200, n);
    answer_free(&whole);
    chaos_close(&c);
}

/* Goal: the archive holds every artifact of the list, whole, and GNU tar takes it. */
Test(artifacts, all_of_them_in_one_archive, .timeout = 90)
{
    begin();
    struct answer tar = http_get(&c.s, ONE "/artifacts.tar"),
                  list = http_get(&c.s, ONE "/artifacts"), weights = http_get(&c.s, WEIGHTS);
    cr_assert(tar.status == 200 && list.status == 200 && tar.length % 512 == 0);
    char *line = mem_printf("cd %s && mkdir x && tar xf - -C x", c.s.folder);
    FILE *p = popen(line, "w");
    cr_assert(p != NULL && fwrite(tar.body, 1, tar.length, p) == tar.length && pclose(p) == 0);
    mem_free(line);
    const cJSON *x;
    int files = 0;
    cJSON_ArrayForEach(x, json_get(list.json, "items")) {
        line = mem_printf("test $(stat -c %%s %s/x/%s) = %lld", c.s.folder,
                          json_get_string(x, "path", "?"), (long long)json_get_int(x, "bytes", -1));
        cr_expect_eq(system(line), 0, "%s", line);
        mem_free(line);
        files++;
    }
    cr_expect_geq(files, 3);
    line = mem_printf("test $(ls %s/x | wc -l) = %d", c.s.folder, files);
    cr_expect_eq(system(line), 0, "%s", line);
    mem_free(line);
    cr_expect(memmem(tar.body, tar.length, weights.body, weights.length) != NULL);
    answer_free(&tar);
    answer_free(&list);
    answer_free(&weights);
    chaos_close(&c);
}

static size_t stop_at_once(char *data, size_t size, size_t n, void *ctx)
{
    (void)data, (void)size, (void)n, (void)ctx;
    return 0;
}

static void *hang(void *ctx)
{
    struct answer a = http_get(ctx, ONE "/artifacts/stdout.log");
    answer_free(&a);
    return NULL;
}

/* Goal: a download whose file does not answer holds up no other request; of readers that leave in
 * the middle no file and no connection stays open. */
Test(artifacts, nobody_waits_for_a_reader, .timeout = 90)
{
    begin();
    char url[160];
    (void)snprintf(url, sizeof url, "%s" ONE "/artifacts.tar", c.s.base);
    struct answer first = http_get(&c.s, "/healthz");
    answer_free(&first);
    const int64_t before = open_files();
    for (int i = 0; i < 200; i++) {
        CURL *curl = curl_easy_init();
        (void)curl_easy_setopt(curl, CURLOPT_URL, url);
        (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, stop_at_once);
        (void)curl_easy_perform(curl);
        curl_easy_cleanup(curl);
    }
    for (int i = 0; open_files() > before && i < 200; i++) sleep_ms(50);
    cr_expect_leq(open_files(), before);
    atomic_store(&c.faults->hang, 1);
    pthread_t reader;
    cr_assert(pthread_create(&reader, NULL, hang, &c.s) == 0);
    for (int i = 0; atomic_load(&c.faults->reads_hung) == 0 && i < 500; i++) sleep_ms(10);
    cr_assert_gt(atomic_load(&c.faults->reads_hung), 0);
    struct answer a = http_get(&c.s, WEIGHTS);
    cr_expect_eq(a.status, 200);
    answer_free(&a);
    atomic_store(&c.faults->hang, 0);
    (void)pthread_join(reader, NULL);
    chaos_close(&c);
}
