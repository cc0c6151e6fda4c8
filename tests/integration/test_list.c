/* Story of the list: pages neither repeat nor skip, in both orders and with every filter, and the
 * total is the same whether it was counted or known. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define EXPERIMENTS 9

/* All ids of a listing, page by page of two, as "9 8 7 "; every page has this total. */
static void all_pages(const struct service *s, const char *query, int64_t total, char *out,
                      size_t size)
{
    char cursor[40] = "", path[200];
    out[0] = '\0';
    for (int pages = 0; pages < EXPERIMENTS; pages++) {
        (void)snprintf(path, sizeof path, "/api/v1/experiments?limit=2%s%s", query, cursor);
        struct answer a = http_get(s, path);
        const cJSON *item, *items = json_get(a.json, "items");
        cr_assert(a.status == 200 && json_get_int(a.json, "total", -1) == total, "%s: %s", path,
                  a.body);
        cJSON_ArrayForEach(item, items) {
            const size_t at = strlen(out);
            (void)snprintf(out + at, size - at, "%lld ", (long long)json_get_int(item, "id", 0));
        }
        const char *next = json_get_string(a.json, "next_cursor", "");
        (void)snprintf(cursor, sizeof cursor, next[0] != '\0' ? "&cursor=%s" : "%s", next);
        answer_free(&a);
        if (cursor[0] == '\0') return;
    }
    cr_assert_fail("pages of %s do not end: %s", query, out);
}

static void expect(const struct service *s, const char *query, int64_t total, const char *ids)
{
    char out[200];
    all_pages(s, query, total, out, sizeof out);
    cr_assert_str_eq(out, ids, "%s", query);
}

static void act(const struct service *s, const char *method, const char *path, long status)
{
    struct answer a = http_call(s, method, path, strcmp(method, "POST") == 0 ? "{}" : NULL, NULL);
    cr_assert_eq(a.status, status, "%s: %ld %s", path, a.status, a.body);
    answer_free(&a);
}

/* Goal: see above; deleted ones are in no page and no total. */
Test(list, pages_and_totals, .timeout = 30)
{
    struct service s = { 0 };
    service_start(&s);
    act(&s, "POST", "/api/v1/queue/pause", 200);
    char *plain = small_spec(1, NULL), *tagged = small_spec(1, "\"tags\": [\"odd\"]");
    for (int i = 1; i <= EXPERIMENTS; i++) (void)submit(&s, i % 2 == 1 ? tagged : plain);
    mem_free(plain);
    mem_free(tagged);
    for (int i = 3; i <= 6; i++) {
        char path[60];
        (void)snprintf(path, sizeof path, "/api/v1/experiments/%d/cancel", i);
        act(&s, "POST", path, 202);
        cr_assert(wait_state(&s, i, "cancelled", 10));
    }
    act(&s, "DELETE", "/api/v1/experiments/5", 204);
    expect(&s, "", 8, "9 8 7 6 4 3 2 1 ");
    expect(&s, "&sort=id", 8, "1 2 3 4 6 7 8 9 ");
    expect(&s, "&state=cancelled", 3, "6 4 3 ");
    expect(&s, "&state=cancelled&sort=id", 3, "3 4 6 ");
    expect(&s, "&state=queued,cancelled", 8, "9 8 7 6 4 3 2 1 ");
    expect(&s, "&state=running", 0, "");
    expect(&s, "&tag=odd", 4, "9 7 3 1 ");
    expect(&s, "&tag=odd&sort=id", 4, "1 3 7 9 ");
    expect(&s, "&q=story&state=queued", 5, "9 8 7 2 1 ");
    struct answer a = http_get(&s, "/api/v1/experiments?cursor=5&limit=2"); /* it is gone */
    cr_assert(strstr(a.body, "\"id\":4") != NULL && strstr(a.body, "\"id\":3") != NULL, "%s",
              a.body);
    answer_free(&a);
    service_end(&s);
}
