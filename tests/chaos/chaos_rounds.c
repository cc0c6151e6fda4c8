/* chaos_rounds: see chaos_rounds.h. */
#include "tests/chaos/chaos_rounds.h"

#include "common/clock.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIVE 5         /* experiments under way */
#define HIT_MS 20000   /* until an armed point must have been hit */
#define HALT_MS                                                                                  \
    100000             /* until a halted worker must have been killed: its lease is over by then \
                        */
#define LOST_MS 4000   /* until answers that shall be lost are */
#define CLOCK_HOURS 10 /* both ways; two of them stay below the 24 hours that a key lives */
#define PROGRAM "build/chaos/spiked"

const char *round_name(int kind)
{
    static const char *const names[ROUND_KINDS] = {
#define NAME_OF(code, name) [code] = name,
        CRASH_POINTS(NAME_OF)
#undef NAME_OF
            [ROUND_KILL_DAEMON] = "kill -9 daemon",
        [ROUND_KILL_WORKER] = "kill -9 worker",
        [ROUND_KILL_BOTH] = "kill -9 both",
        [ROUND_STOP_DAEMON] = "stop daemon",
        [ROUND_STOP_WORKER] = "stop worker",
        [ROUND_LOSE_ANSWERS] = "lost answers",
        [ROUND_FULL_DISK] = "full disk",
        [ROUND_CLOCK_JUMP] = "clock jump",
        [ROUND_HALT_WORKER] = "halted worker",
    };
    return names[kind];
}

/* ---- a season -------------------------------------------------------------------------------- */
static struct faults *map_faults(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, sizeof(struct faults)) == 0);
    void *at = mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert(at != MAP_FAILED);
    (void)close(fd);
    return at;
}

void chaos_open(struct chaos *c, int season, uint32_t seed)
{
    char path[160], library[PATH_MAX];
    *c = (struct chaos){ .random = seed };
    c->s = (struct service){ .program = PROGRAM,
                             .extra = { "--retry-delay-ms", "50", "--max-running", "3" } };
    service_prepare(&c->s);
    (void)snprintf(path, sizeof path, "%s/faults", c->s.folder);
    c->faults = map_faults(path);
    cr_assert(realpath("build/chaos/faults.so", library) != NULL, "make stories builds it");
    (void)snprintf(c->faults_env, sizeof c->faults_env, "SPIKED_FAULTS=%s", path);
    (void)snprintf(c->preload_env, sizeof c->preload_env, "LD_PRELOAD=%s", library);
    (void)snprintf(c->crash_log, sizeof c->crash_log, "%s/crash.log", c->s.folder);
    (void)snprintf(c->log_env, sizeof c->log_env, "SPIKED_CRASH_LOG=%s", c->crash_log);
    (void)snprintf(c->crash_env, sizeof c->crash_env, "SPIKED_CRASH=");
    const char *const env[] = { c->faults_env, c->preload_env, c->log_env, c->crash_env };
    memcpy(c->s.env, env, sizeof env);
    (void)snprintf(path, sizeof path, "%s/client.log", c->s.folder);
    client_open(&c->client, &c->s, path, season, &c->random);
}

void chaos_close(struct chaos *c)
{
    client_close(&c->client);
    (void)munmap(c->faults, sizeof *c->faults);
    service_end(&c->s);
}

void chaos_hits(const struct chaos *c, int64_t hits[CRASH_POINT_COUNT])
{
    char line[160], name[80];
    FILE *f = fopen(c->crash_log, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        for (int i = 0; i < CRASH_POINT_COUNT; i++)
            if (sscanf(line, "%79s", name) == 1 && strcmp(name, round_name(i)) == 0) hits[i]++;
    if (f != NULL) (void)fclose(f);
}

static int64_t hits_of(const struct chaos *c, int point)
{
    int64_t hits[CRASH_POINT_COUNT] = { 0 };
    chaos_hits(c, hits);
    return hits[point];
}

/* ---- rounds ---------------------------------------------------------------------------------- */
static uint32_t below(struct chaos *c, uint32_t n) { return random_next(&c->random, n); }

static void kill_worker(struct chaos *c)
{
    const pid_t worker = service_worker(&c->s);
    if (worker > 0 && kill(worker, SIGKILL) == 0) c->kills++;
}

static void kill_daemon(struct chaos *c)
{
    if (c->s.pid == 0) return;
    service_kill(&c->s);
    c->kills++;
}

/* A daemon that ended although nobody killed it has a fault. */
static void expect_daemon(struct chaos *c)
{
    int status = 0;
    const bool gone = c->s.pid != 0 && waitpid(c->s.pid, &status, WNOHANG) == c->s.pid;
    cr_assert(!gone, "the daemon of %s ended by itself, status %d", c->s.folder, status);
}

static void feed_for(struct chaos *c, int ms)
{
    for (const int64_t until = clock_mono_ms() + ms; clock_mono_ms() < until;) {
        client_feed(&c->client, LIVE);
        sleep_ms(30);
    }
}

/* By the command of the same build, which has the same crash point armed. */
static void make_backup(const struct chaos *c)
{
    char file[160], state[160];
    (void)snprintf(file, sizeof file, "%s/backup.tar", c->s.folder);
    (void)snprintf(state, sizeof state, "%s/state", c->s.folder);
    (void)unlink(file);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)putenv((char *)(uintptr_t)c->log_env);
        (void)putenv((char *)(uintptr_t)c->crash_env);
        (void)dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        (void)execl(PROGRAM, PROGRAM, "backup", file, "--state-dir", state, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

/* Experiments that never train and are purged: the judge, who wants to see every other one, never
 * hears of them. True: none is left. */
static bool purge_doomed(struct chaos *c)
{
    struct answer list = http_get(&c->s, "/api/v1/experiments?tag=doomed&limit=200");
    const bool none = list.status == 200 && json_get_int(list.json, "total", -1) == 0;
    const cJSON *x;
    cJSON_ArrayForEach(x, json_get(list.json, "items")) {
        char path[80];
        const int64_t id = json_get_int(x, "id", 0);
        (void)client_act(&c->client, id, "cancel");
        (void)snprintf(path, sizeof path, "/api/v1/experiments/%lld?purge=true", (long long)id);
        struct answer a = http_call(&c->s, "DELETE", path, NULL, NULL);
        answer_free(&a);
    }
    answer_free(&list);
    return none;
}

/* Behind one that has not ended it is blocked, so cancelled at once. */
static void doom_one(struct chaos *c)
{
    const struct client_view v = client_look(&c->client);
    if (!v.answered || v.running == 0) return;
    char *fields = mem_printf("\"tags\": [\"doomed\"], \"after\": [{\"experiment\": %lld}]",
                              (long long)v.running);
    char *spec = small_spec(1, fields);
    struct answer a = http_post(&c->s, "/api/v1/experiments", spec);
    answer_free(&a);
    mem_free(spec);
    mem_free(fields);
}

#define SWEEP_AGAIN_MS 6000 /* a member has come to its rung by then, or something held it up */
static bool needs_sweep(int point)
{
    return point >= CRASH_SWEEP_BEFORE_COMMIT && point <= CRASH_PRUNE_AFTER_COMMIT;
}

/* What makes a daemon or worker come to its crash point. */
static void provoke(struct chaos *c, int point)
{
    const bool action = point == CRASH_ACTION_BEFORE_COMMIT || point == CRASH_ACTION_AFTER_COMMIT;
    const bool fault = point == CRASH_FAULT_BEFORE_COMMIT || point == CRASH_FAULT_AFTER_COMMIT;
    const bool submit = point == CRASH_SUBMIT_BEFORE_COMMIT || point == CRASH_SUBMIT_AFTER_COMMIT;
    const bool backup = point >= CRASH_BACKUP_SLICE && point <= CRASH_BACKUP_BEFORE_RENAME;
    client_feed(&c->client, LIVE + 1);
    if (backup) make_backup(c);
    if (point == CRASH_PURGE_FOLDER_GONE || point == CRASH_PURGE_POINTS_GONE) {
        doom_one(c);
        (void)purge_doomed(c);
    }
    if (submit) client_submit(&c->client);
    if (needs_sweep(point) && clock_mono_ms() >= c->sweep_again_ms) {
        client_sweep(&c->client);
        c->sweep_again_ms = clock_mono_ms() + SWEEP_AGAIN_MS;
    }
    if (action || below(c, 20) == 0) client_meddle(&c->client);
    if (fault) kill_worker(c);
}

/* Which time a process comes to its point: some come there once only. */
static unsigned which_time(struct chaos *c, int point)
{
    return point == CRASH_MIGRATION_BEFORE_COMMIT || point == CRASH_MIGRATION_AFTER_COMMIT ||
                   point == CRASH_ATTEMPT_LINKED || point == CRASH_FINISH_NOT_SENT ||
                   point == CRASH_BACKUP_BEFORE_RENAME
               ? 1
               : 1 + below(c, 3);
}

static bool round_point(struct chaos *c, int point)
{
    const bool at_start = point == CRASH_MIGRATION_BEFORE_COMMIT ||
                          point == CRASH_MIGRATION_AFTER_COMMIT;
    const int64_t before = hits_of(c, point);
    kill_daemon(c);
    (void)snprintf(c->crash_env, sizeof c->crash_env, "SPIKED_CRASH=%s:%u", round_name(point),
                   which_time(c, point));
    bool hit = false;
    c->sweep_again_ms = 0;
    (void)service_try_restart(&c->s);
    for (const int64_t until = clock_mono_ms() + HIT_MS; !hit && clock_mono_ms() < until;) {
        hit = hits_of(c, point) > before;
        if (hit || at_start) break;
        provoke(c, point);
        sleep_ms(20);
    }
    kill_daemon(c);
    c->crash_env[strlen("SPIKED_CRASH=")] = '\0';
    sleep_ms((int)below(c, 300)); /* workers go on alone */
    /* The next round wants a first migration, too. */
    if (point != CRASH_MIGRATION_BEFORE_COMMIT) service_restart(&c->s);
    return hit;
}

static void round_full_disk(struct chaos *c)
{
    atomic_store(&c->faults->disk_full, 1);
    feed_for(c, (int)(100 + below(c, 1200)));
    if (below(c, 3) == 0) kill_daemon(c);
    atomic_store(&c->faults->disk_full, 0);
    if (c->s.pid == 0) service_restart(&c->s);
    feed_for(c, 300);
}

static void round_lose_answers(struct chaos *c)
{
    atomic_store(&c->faults->lose, (int)(1 + below(c, 8)));
    for (const int64_t until = clock_mono_ms() + LOST_MS;
         atomic_load(&c->faults->lose) > 0 && clock_mono_ms() < until;)
        feed_for(c, 50);
    atomic_store(&c->faults->lose, 0);
}

static void move_clock(struct chaos *c)
{
    const int64_t seconds = (int64_t)below(c, 2 * CLOCK_HOURS * 3600) - CLOCK_HOURS * 3600;
    atomic_store(&c->faults->wall_ms, below(c, 4) == 0 ? 0 : seconds * 1000);
}

static void round_kill(struct chaos *c, bool daemon, bool worker)
{
    feed_for(c, (int)(200 + below(c, 800)));
    if (daemon) kill_daemon(c);
    if (worker) kill_worker(c);
    sleep_ms((int)below(c, 300));
    if (daemon) service_restart(&c->s);
    feed_for(c, 200);
}

static void round_stop_daemon(struct chaos *c)
{
    feed_for(c, (int)(200 + below(c, 500)));
    service_stop(&c->s);
    sleep_ms((int)below(c, 300));
    service_restart(&c->s);
}

static void round_stop_worker(struct chaos *c)
{
    feed_for(c, (int)(200 + below(c, 500)));
    const pid_t worker = service_worker(&c->s);
    if (worker > 0) (void)kill(worker, SIGTERM);
    feed_for(c, 300);
}

static void round_clock_jump(struct chaos *c)
{
    move_clock(c);
    kill_worker(c); /* a backoff that the jump falls into */
    feed_for(c, 500);
    move_clock(c);
}

/* It holds its experiment's lock and its sockets, and says nothing. The daemon must end it, and
 * begin no other before that. */
static bool round_halt_worker(struct chaos *c)
{
    pid_t worker = 0;
    for (const int64_t until = clock_mono_ms() + HIT_MS;
         (worker = service_worker(&c->s)) == 0 && clock_mono_ms() < until;)
        feed_for(c, 50);
    if (worker == 0 || kill(worker, SIGSTOP) != 0) return false;
    for (const int64_t until = clock_mono_ms() + HALT_MS;
         kill(worker, 0) == 0 && clock_mono_ms() < until;)
        feed_for(c, 100);
    const bool ended = kill(worker, 0) != 0;
    (void)kill(worker, SIGKILL); /* nothing of this test is left halted */
    return ended;
}

bool chaos_round(struct chaos *c, int kind)
{
    bool hit = true;
    if (c->s.pid != 0 && below(c, 4) == 0) atomic_store(&c->faults->lose, (int)below(c, 4));
    if (below(c, 4) == 0) move_clock(c);
    if (kind < CRASH_POINT_COUNT) hit = round_point(c, kind);
    else if (kind == ROUND_FULL_DISK) round_full_disk(c);
    else if (kind == ROUND_LOSE_ANSWERS) round_lose_answers(c);
    else if (kind == ROUND_CLOCK_JUMP) round_clock_jump(c);
    else if (kind == ROUND_STOP_DAEMON) round_stop_daemon(c);
    else if (kind == ROUND_STOP_WORKER) round_stop_worker(c);
    else if (kind == ROUND_HALT_WORKER) hit = round_halt_worker(c);
    else round_kill(c, kind != ROUND_KILL_WORKER, kind != ROUND_KILL_DAEMON);
    expect_daemon(c);
    return hit;
}

bool chaos_drain(struct chaos *c, int seconds)
{
    atomic_store(&c->faults->lose, 0);
    for (const int64_t until = clock_mono_ms() + seconds * 1000; clock_mono_ms() < until;) {
        client_feed(&c->client, 0);
        const struct client_view v = client_look(&c->client);
        if (v.answered && v.live == 0 && purge_doomed(c) && client_settle(&c->client)) return true;
        expect_daemon(c);
        sleep_ms(100);
    }
    return false;
}
