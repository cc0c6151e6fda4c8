/* Stories of what is deleted: it can be taken back, is listed apart, says what it takes on disk,
 * and goes for good when it is purged. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define X "/api/v1/experiments"
#define STRANGER 4712

static int64_t run_one(const struct service *s)
{
    char *spec = small_spec(1, "\"seed\": 5");
    const int64_t id = submit(s, spec);
    mem_free(spec);
    cr_assert(wait_state(s, id, "succeeded", 60));
    return id;
}

static long call(const struct service *s, const char *method, int64_t id, const char *more)
{
    char path[120];
    (void)snprintf(path, sizeof path, X "/%lld%s", (long long)id, more);
    struct answer a = http_call(s, method, path, NULL, NULL);
    const long status = a.status;
    answer_free(&a);
    return status;
}

static int64_t listed(const struct service *s, const char *query)
{
    char path[120];
    (void)snprintf(path, sizeof path, X "?%s", query);
    struct answer a = http_get(s, path);
    cr_assert_eq(a.status, 200, "%s", a.body);
    const int64_t n = cJSON_GetArraySize(json_get(a.json, "items"));
    cr_expect_eq(json_get_int(a.json, "total", -1), n);
    answer_free(&a);
    return n;
}

static int64_t collect(const struct service *s, const char *query, const char *body,
                       const char *number)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/api/v1/admin/gc%s", query);
    struct answer a = http_post(s, path, body);
    cr_assert_eq(a.status, 200, "%s", a.body);
    const int64_t n = json_get_int(a.json, number, -1);
    answer_free(&a);
    return n;
}

/* Goal: the way of an experiment through the trash and out of it, both ways, as people see it. */
Test(retention, what_is_deleted_can_be_taken_back, .timeout = 120)
{
    static struct service s;
    service_start(&s);
    const int64_t id = run_one(&s);
    const int64_t bytes = experiment_int(&s, id, NULL, "files_bytes");
    cr_expect_gt(bytes, 1000);
    cr_expect_eq(call(&s, "POST", id, "/restore"), 409);
    cr_assert_eq(call(&s, "DELETE", id, "?purge=maybe"), 400);
    cr_assert_eq(call(&s, "DELETE", id, ""), 204);
    cr_expect_eq(call(&s, "GET", id, ""), 404);
    cr_expect_eq(call(&s, "DELETE", id, ""), 404);
    cr_expect(listed(&s, "") == 0 && listed(&s, "deleted=true") == 1);
    cr_expect(listed(&s, "deleted=true&state=failed") == 0);
    if (geteuid() == 0) {
        char path[80];
        (void)snprintf(path, sizeof path, X "/%lld/restore", (long long)id);
        cr_expect_eq(http_status_as(&s, STRANGER, "POST", path, "{}"), 403);
        (void)snprintf(path, sizeof path, X "/%lld?purge=true", (long long)id);
        cr_expect_eq(http_status_as(&s, STRANGER, "DELETE", path, NULL), 403);
    }
    cr_expect_eq(collect(&s, "?dry_run=true", "{\"deleted_for_s\": 3600}", "experiments"), 0);
    cr_expect_eq(collect(&s, "?dry_run=true", "{}", "files_bytes"), bytes);
    service_kill(&s);
    service_restart(&s);
    cr_assert_eq(call(&s, "POST", id, "/restore"), 202);
    cr_expect(listed(&s, "") == 1 && listed(&s, "deleted=true") == 0);
    cr_expect_eq(call(&s, "GET", id, "/artifacts/weights.safetensors"), 200);

    cr_assert_eq(call(&s, "DELETE", id, ""), 204);
    cr_expect_eq(collect(&s, "", "{}", "purged"), 1);
    cr_expect(listed(&s, "deleted=true") == 0);
    cr_expect_eq(call(&s, "POST", id, "/restore"), 404);
    const int64_t next = run_one(&s);
    cr_assert_eq(call(&s, "DELETE", next, "?purge=true"), 204);
    cr_expect_eq(call(&s, "POST", next, "/restore"), 404);
    char files[200];
    (void)snprintf(files, sizeof files, "test -z \"$(ls %s/state/files)\"", s.folder);
    bool empty = false;
    for (int i = 0; i < 100 && !empty; i++) {
        empty = system(files) == 0;
        sleep_ms(50);
    }
    cr_expect(empty, "files are left");
    service_end(&s);
}
