/* service: see service.h. */
#include "tests/support/service.h"

#include "common/clock.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_S 20
#define END_S 30

void sleep_ms(int ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
    (void)nanosleep(&t, NULL);
}

/* ---- processes ------------------------------------------------------------------------------- */
static int free_port(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &size) == 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static const char *program(const struct service *s)
{
    const char *path = s->program != NULL ? s->program : getenv("SPIKED_PROGRAM");
    return path != NULL ? path : "build/spiked";
}

static void run_daemon(const struct service *s)
{
    char state[160], data[160], listen_on[32], log[160];
    (void)snprintf(state, sizeof state, "%s/state", s->folder);
    (void)snprintf(data, sizeof data, "%s/data", s->folder);
    (void)snprintf(log, sizeof log, "%s/daemon.log", s->folder);
    (void)snprintf(listen_on, sizeof listen_on, "127.0.0.1:%d", s->port);
    const char *argv[24] = { program(s),   "serve", "--state-dir", state,
                             "--data-dir", data,    "--listen",    listen_on };
    size_t n = 8;
    for (size_t i = 0; s->extra[i] != NULL; i++) argv[n++] = s->extra[i];
    for (size_t i = 0; s->env[i] != NULL; i++) (void)putenv((char *)(uintptr_t)s->env[i]);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a story that failed leaves no daemon behind */
    const int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)dup2(out, 1);
    (void)dup2(out, 2);
    (void)execv(argv[0], (char *const *)argv);
    _exit(127);
}

static void show_log(const struct service *s)
{
    char path[160], line[512];
    (void)snprintf(path, sizeof path, "%s/daemon.log", s->folder);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) cr_log_warn("%s", line);
    if (f != NULL) (void)fclose(f);
}

bool service_try_restart(struct service *s)
{
    s->pid = fork();
    cr_assert(s->pid >= 0);
    if (s->pid == 0) run_daemon(s);
    const int64_t until = clock_mono_ms() + READY_S * 1000;
    for (;;) {
        struct answer a = http_get(s, "/readyz");
        const bool ready = a.status == 200;
        answer_free(&a);
        if (ready) return true;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0;
            return false;
        }
        if (clock_mono_ms() > until) show_log(s);
        cr_assert(clock_mono_ms() < until, "the daemon is not ready");
        sleep_ms(20);
    }
}

void service_restart(struct service *s)
{
    const bool ready = service_try_restart(s);
    if (!ready) show_log(s);
    cr_assert(ready, "the daemon ended at once");
}

void service_prepare(struct service *s)
{
    char path[160];
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/spiked-story-XXXXXX");
    cr_assert(mkdtemp(s->folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/data", s->folder);
    cr_assert(mkdir(path, 0700) == 0);
    s->port = free_port();
    (void)snprintf(s->base, sizeof s->base, "http://127.0.0.1:%d", s->port);
}

void service_start(struct service *s)
{
    service_prepare(s);
    service_restart(s);
}

void service_stop(struct service *s)
{
    if (s->pid == 0) return;
    (void)kill(s->pid, SIGTERM);
    int status = 0;
    const int64_t until = clock_mono_ms() + END_S * 1000;
    while (waitpid(s->pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > until) show_log(s);
        cr_assert(clock_mono_ms() < until, "the daemon does not end");
        sleep_ms(20);
    }
    s->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) show_log(s);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the daemon ended with status %d",
              status);
}

void service_kill(struct service *s)
{
    if (s->pid == 0) return;
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static bool file_mentions(const char *path, const char *word)
{
    char text[8192];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = read(fd, text, sizeof text);
    (void)close(fd);
    return n > 0 && memmem(text, (size_t)n, word, strlen(word)) != NULL;
}

/* Calls for each process of the folder, other than this test; returns how many. */
static int each_process(const struct service *s, pid_t *worker)
{
    DIR *proc = opendir("/proc");
    int count = 0;
    for (struct dirent *d; proc != NULL && (d = readdir(proc)) != NULL;) {
        char environ_path[300], args_path[300], text[300];
        const long pid = strtol(d->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid() || pid == getppid()) continue;
        (void)snprintf(environ_path, sizeof environ_path, "/proc/%ld/environ", pid);
        (void)snprintf(args_path, sizeof args_path, "/proc/%ld/cmdline", pid);
        (void)snprintf(text, sizeof text, "/proc/%ld/exe", pid);
        char exe[PATH_MAX];
        const ssize_t n = readlink(text, exe, sizeof exe - 1);
        if (n <= 0) continue; /* a zombie, or not ours */
        exe[n] = '\0';
        if (!file_mentions(environ_path, s->folder) && !file_mentions(args_path, s->folder))
            continue;
        count++;
        if (worker != NULL && strstr(exe, "spiked-worker") != NULL) *worker = (pid_t)pid;
    }
    if (proc != NULL) (void)closedir(proc);
    return count;
}

int service_processes(const struct service *s) { return each_process(s, NULL); }

pid_t service_worker(const struct service *s)
{
    pid_t worker = 0;
    (void)each_process(s, &worker);
    return worker;
}

bool service_own_address(char out[INET_ADDRSTRLEN])
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0) return false;
    for (struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET ||
            (i->ifa_flags & IFF_LOOPBACK) != 0 || (i->ifa_flags & IFF_UP) == 0)
            continue;
        const struct sockaddr_in *a = (const void *)i->ifa_addr;
        found = inet_ntop(AF_INET, &a->sin_addr, out, INET_ADDRSTRLEN) != NULL;
    }
    freeifaddrs(all);
    return found;
}

static void remove_folder(const char *folder)
{
    const pid_t pid = fork();
    if (pid == 0) {
        (void)execlp("rm", "rm", "-rf", folder, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

void service_end(struct service *s)
{
    service_stop(s);
    const int64_t until = clock_mono_ms() + 10000;
    while (service_processes(s) > 0 && clock_mono_ms() < until) sleep_ms(50);
    cr_assert(service_processes(s) == 0, "%d processes of %s are left", service_processes(s),
              s->folder);
    remove_folder(s->folder);
}

/* ---- HTTP ------------------------------------------------------------------------------------ */
struct text {
    char *data;
    size_t length;
    const char *until;
};

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
    struct text *t = ctx;
    char *grown = mem_realloc_array(t->data, t->length + size * n + 1, 1);
    if (grown == NULL) return 0;
    memcpy(grown + t->length, data, size * n);
    t->data = grown;
    t->length += size * n;
    t->data[t->length] = '\0';
    return t->until != NULL && strstr(t->data, t->until) != NULL
               ? 0
               : size * n; /* 0 ends the transfer */
}

void answer_free(struct answer *a)
{
    mem_free(a->head);
    mem_free(a->body);
    cJSON_Delete(a->json);
    *a = (struct answer){ 0 };
}

struct answer http_call(const struct service *s, const char *method, const char *path,
                        const char *body, const char *const *headers)
{
    char url[2048];
    struct text head = { 0 }, text = { 0 };
    struct answer a = { 0 };
    CURL *c = curl_easy_init();
    struct curl_slist *list = NULL;
    (void)snprintf(url, sizeof url, "%s%s", s->base, path);
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i++)
        list = curl_slist_append(list, headers[i]);
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT, 30L);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    if (s->ca != NULL) (void)curl_easy_setopt(c, CURLOPT_CAINFO, s->ca);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, &text);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, collect);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, &head);
    if (s->unix_socket != NULL) (void)curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, s->unix_socket);
    if (body != NULL) {
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    }
    if (curl_easy_perform(c) == CURLE_OK)
        (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &a.status);
    curl_slist_free_all(list);
    curl_easy_cleanup(c);
    a.head = head.data;
    a.body = text.data;
    a.length = text.length;
    struct err e = { 0 };
    if (text.length > 0) (void)json_parse(text.data, text.length, &a.json, &e);
    return a;
}

struct answer http_get(const struct service *s, const char *path)
{
    return http_call(s, "GET", path, NULL, NULL);
}

struct answer http_post(const struct service *s, const char *path, const char *body)
{
    return http_call(s, "POST", path, body, NULL);
}

long http_status_as(const struct service *s, uid_t uid, const char *method, const char *path,
                    const char *body)
{
    if (geteuid() != 0) return 0;
    int fds[2];
    long status = 0;
    cr_assert(pipe(fds) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        if (setgid(uid) != 0 || setuid(uid) != 0) _exit(1);
        const struct answer a = http_call(s, method, path, body, NULL);
        const ssize_t n = write(fds[1], &a.status, sizeof a.status);
        _exit(n == (ssize_t)sizeof a.status ? 0 : 1);
    }
    (void)close(fds[1]);
    cr_assert(pid > 0 && read(fds[0], &status, sizeof status) == (ssize_t)sizeof status);
    (void)close(fds[0]);
    (void)waitpid(pid, NULL, 0);
    return status;
}

char *http_stream(const struct service *s, const char *path, const char *until, int seconds)
{
    char url[1024];
    struct text text = { .until = until };
    CURL *c = curl_easy_init();
    (void)snprintf(url, sizeof url, "%s%s", s->base, path);
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)seconds);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    if (s->ca != NULL) (void)curl_easy_setopt(c, CURLOPT_CAINFO, s->ca);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, &text);
    (void)curl_easy_perform(c);
    curl_easy_cleanup(c);
    return text.data != NULL ? text.data : mem_strdup("");
}

/* ---- experiments ----------------------------------------------------------------------------- */
char *small_spec(int64_t epochs, const char *fields)
{
    return mem_printf(
        "{\"version\": 1, \"name\": \"story\", \"time_steps\": 4,"
        "\"dataset\": {\"name\": \"glyphs\", \"train_limit\": 640, \"test_limit\": 100},"
        "\"network\": {\"layers\": [{\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": "
        "3,"
        " \"stride\": 2, \"bias\": false}, {\"type\": \"batch_norm\"},"
        " {\"type\": \"neuron\", \"model\": \"plif\"}, {\"type\": \"max_pool2d\", \"kernel_size\": "
        "2},"
        " {\"type\": \"flatten\"}, {\"type\": \"dropout\", \"p\": 0.2},"
        " {\"type\": \"linear\", \"out_features\": 32},"
        " {\"type\": \"neuron\", \"model\": \"psn\"}, {\"type\": \"linear\", \"out_features\": "
        "10}]},"
        "\"train\": {\"epochs\": %lld, \"batch_size\": 16, \"loss\": {\"type\": "
        "\"cross_entropy\"}},"
        "\"checkpoint\": {\"every_steps\": 20}, \"resources\": {\"threads\": 1}%s%s}",
        (long long)epochs, fields != NULL ? ", " : "", fields != NULL ? fields : "");
}

int64_t submit(const struct service *s, const char *spec)
{
    struct answer a = http_post(s, "/api/v1/experiments", spec);
    cr_assert(a.status == 201, "submit: %ld %s", a.status, a.body);
    const int64_t id = json_get_int(a.json, "id", 0);
    answer_free(&a);
    return id;
}

cJSON *experiment(const struct service *s, int64_t id)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld", (long long)id);
    struct answer a = http_get(s, path);
    cr_assert(a.status == 200 && a.json != NULL, "%s: %ld", path, a.status);
    cJSON *json = a.json;
    a.json = NULL;
    answer_free(&a);
    return json;
}

int64_t experiment_int(const struct service *s, int64_t id, const char *object, const char *name)
{
    cJSON *x = experiment(s, id);
    const int64_t v = json_get_int(object != NULL ? json_get(x, object) : x, name, -1);
    cJSON_Delete(x);
    return v;
}

static bool one_of(const char *word, const char *list)
{
    const size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == '|') && (at[n] == '|' || at[n] == '\0')) return true;
    return false;
}

bool wait_state(const struct service *s, int64_t id, const char *states, int seconds)
{
    const int64_t until = clock_mono_ms() + seconds * 1000;
    for (;;) {
        cJSON *x = experiment(s, id);
        const bool there = one_of(json_get_string(x, "state", ""), states);
        const bool late = clock_mono_ms() > until;
        if (late && !there)
            cr_log_warn("experiment %lld is %s (%s), wanted %s", (long long)id,
                        json_get_string(x, "state", ""), json_get_string(x, "message", ""), states);
        cJSON_Delete(x);
        if (there || late) return there;
        sleep_ms(50);
    }
}

bool wait_step(const struct service *s, int64_t id, int64_t step, int seconds)
{
    const int64_t until = clock_mono_ms() + seconds * 1000;
    while (experiment_int(s, id, "progress", "step") < step) {
        if (clock_mono_ms() > until) return false;
        sleep_ms(50);
    }
    return true;
}
