/* judge collect: everything that is judged, as the public API shows it. See judge.h.
 *   api/experiments.txt   ID UID NAME STATE ATTEMPT
 *   api/ID/series.txt     N COUNT NAME       api/ID/N.csv   step,time_ms,value
 *   api/ID/weights.safetensors */
#include "common/json.h"
#include "common/mem.h"
#include "tests/chaos/judge.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct collect {
    const char *base;
    char dir[PATH_MAX]; /* evidence/api */
    CURL *curl;
};

/* GET into a file; the HTTP status, 0 = no answer. */
static long get(struct collect *c, const char *path, const char *to)
{
    char url[1024];
    long status = 0;
    FILE *f = fopen(to, "wbe");
    if (f == NULL) return 0;
    (void)snprintf(url, sizeof url, "%s/api/v1/experiments%s", c->base, path);
    (void)curl_easy_setopt(c->curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, 60L);
    (void)curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, f);
    if (curl_easy_perform(c->curl) == CURLE_OK)
        (void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return fclose(f) == 0 ? status : 0;
}

static cJSON *get_json(struct collect *c, const char *path)
{
    char file[PATH_MAX + 16];
    (void)snprintf(file, sizeof file, "%s/answer", c->dir);
    cJSON *json = NULL;
    struct err e = { 0 };
    struct stat st;
    if (get(c, path, file) != 200 || stat(file, &st) != 0) return NULL;
    char *text = mem_alloc((size_t)st.st_size + 1);
    FILE *f = fopen(file, "rbe");
    const size_t n = text != NULL && f != NULL ? fread(text, 1, (size_t)st.st_size, f) : 0;
    if (n > 0) (void)json_parse(text, n, &json, &e);
    if (f != NULL) (void)fclose(f);
    mem_free(text);
    return json;
}

static int collect_series(struct collect *c, int64_t id, const char *dir)
{
    char path[256], file[PATH_MAX + 64];
    (void)snprintf(path, sizeof path, "/%" PRId64 "/metrics", id);
    cJSON *all = get_json(c, path);
    (void)snprintf(file, sizeof file, "%s/series.txt", dir);
    FILE *f = fopen(file, "we");
    int rc = all != NULL && f != NULL ? 0 : 2, n = 0;
    const cJSON *s;
    cJSON_ArrayForEach(s, json_get(all, "items")) {
        const char *name = json_get_string(s, "name", "?");
        (void)snprintf(path, sizeof path, "/%" PRId64 "/metrics/%s?format=csv", id, name);
        (void)snprintf(file, sizeof file, "%s/%d.csv", dir, n);
        if (rc == 0 && get(c, path, file) != 200) rc = 2;
        if (f != NULL) (void)fprintf(f, "%d %" PRId64 " %s\n", n++, json_get_int(s, "n", -1), name);
    }
    if (f != NULL && fclose(f) != 0) rc = 2;
    cJSON_Delete(all);
    return rc;
}

static int collect_one(struct collect *c, const cJSON *x, FILE *list)
{
    const int64_t id = json_get_int(x, "id", 0);
    const char *state = json_get_string(x, "state", "?");
    char path[256], dir[PATH_MAX + 32], file[PATH_MAX + 64];
    (void)fprintf(list, "%" PRId64 " %s %s %s %" PRId64 "\n", id, json_get_string(x, "uid", "?"),
                  json_get_string(x, "name", "?"), state, json_get_int(x, "attempt", -1));
    (void)snprintf(dir, sizeof dir, "%s/%" PRId64, c->dir, id);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return 2;
    if (collect_series(c, id, dir) != 0) return 2;
    if (strcmp(state, "succeeded") != 0) return 0;
    (void)snprintf(path, sizeof path, "/%" PRId64 "/artifacts/weights.safetensors", id);
    (void)snprintf(file, sizeof file, "%s/weights.safetensors", dir);
    return get(c, path, file) == 200 ? 0 : 2;
}

int judge_collect(const char *base, const char *evidence)
{
    struct collect c = { .base = base };
    char file[PATH_MAX + 32], path[64] = "?limit=100";
    (void)snprintf(c.dir, sizeof c.dir, "%s/api", evidence);
    if (mkdir(c.dir, 0700) != 0 && errno != EEXIST) return 2;
    (void)snprintf(file, sizeof file, "%s/experiments.txt", c.dir);
    FILE *list = fopen(file, "we");
    c.curl = curl_easy_init();
    if (list == NULL || c.curl == NULL) return 2;
    int rc = 0;
    bool more = true;
    while (rc == 0 && more) {
        cJSON *page = get_json(&c, path);
        if (page == NULL) rc = 2;
        const cJSON *x;
        cJSON_ArrayForEach(x, json_get(page, "items"))
            if (rc == 0) rc = collect_one(&c, x, list);
        const char *next = json_get_string(page, "next_cursor", NULL);
        more = next != NULL;
        if (more) (void)snprintf(path, sizeof path, "?limit=100&cursor=%s", next);
        cJSON_Delete(page);
    }
    curl_easy_cleanup(c.curl);
    if (fclose(list) != 0) rc = 2;
    if (rc != 0) (void)fprintf(stderr, "judge: the daemon at %s did not answer all\n", base);
    return rc;
}
