/* The judge of the fault campaign is itself judged: from evidence of a clean run it must find
 * nothing, and from the same evidence with one thing planted exactly that. */
#include "tests/chaos/chaos_judge.h"
#include "tests/chaos/chaos_rounds.h"

#include "common/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Evidence of experiment 1, which was not disturbed, and a copy to plant things in. */
struct evidence {
    struct chaos c;
    char undisturbed[64], files[200], copy[200], output[200];
    pid_t watcher;
};

static void begin(struct evidence *v)
{
    chaos_open(&v->c, 1, 1);
    (void)snprintf(v->files, sizeof v->files, "%s/state/files", v->c.s.folder);
    (void)snprintf(v->copy, sizeof v->copy, "%s/copy", v->c.s.folder);
    (void)snprintf(v->output, sizeof v->output, "%s/verdict", v->c.s.folder);
    v->watcher = judge_watch_begin(v->c.s.folder);
    service_restart(&v->c.s);
    client_submit(&v->c.client);
    cr_assert(client_settle(&v->c.client) && v->c.client.sent[0].id == 1);
    cr_assert(chaos_drain(&v->c, 60));
    const size_t spec = v->c.client.sent[0].spec;
    judge_undisturbed(v->undisturbed, sizeof v->undisturbed, spec, spec + 1);
    judge_collect_from(v->c.s.base, v->c.s.folder);
}

static void end(struct evidence *v)
{
    judge_forget(v->undisturbed);
    chaos_close(&v->c);
}

static void fresh_copy(const struct evidence *v)
{
    char *command = mem_printf(
        "rm -rf %s && mkdir %s && cp -r %s/client.log %s/alive.log %s/api %s", v->copy, v->copy,
        v->c.s.folder, v->c.s.folder, v->c.s.folder, v->copy);
    const char *const argv[] = { "/bin/sh", "-c", command, NULL };
    cr_assert(program_end(program_start(argv, NULL)) == 0);
    mem_free(command);
}

/* Edits the copy with a line of sed, which must change something. */
static void plant(const struct evidence *v, const char *file, const char *sed)
{
    char *command = mem_printf("cd %s && cp %s before && sed -i '%s' %s && ! cmp -s before %s",
                               v->copy, file, sed, file, file);
    const char *const argv[] = { "/bin/sh", "-c", command, NULL };
    cr_assert(program_end(program_start(argv, NULL)) == 0, "%s", command);
    mem_free(command);
}

/* The verdict about the copy must have this one fault; NULL = none. */
static void expect(const struct evidence *v, const char *fault)
{
    char line[512], found[512] = "";
    const int code = judge_decide(v->copy, v->files, v->undisturbed, v->output);
    FILE *f = fopen(v->output, "re");
    int faults = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "fault ", 6) != 0) continue;
        (void)snprintf(found, sizeof found, "%s", line + 6);
        faults++;
    }
    cr_assert(f != NULL && fclose(f) == 0);
    cr_assert(faults == (fault != NULL) && code == (fault != NULL), "%d faults, the last: %s",
              faults, found);
    if (fault != NULL) cr_assert(strncmp(found, fault, strlen(fault)) == 0, "%s", found);
}

/* The number N of a series in api/1/series.txt. */
static int number_of(const struct evidence *v, const char *name)
{
    char path[300], line[200], got[128];
    int n, count;
    (void)snprintf(path, sizeof path, "%s/api/1/series.txt", v->copy);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%d %d %127s", &n, &count, got) == 3 && strcmp(got, name) == 0) break;
    cr_assert(f != NULL && strcmp(got, name) == 0);
    (void)fclose(f);
    return n;
}

/* One more or one less in the count that the API shows of a series. */
static void plant_count(const struct evidence *v, int number, int change)
{
    char path[300], old[310], line[200], name[128];
    int n, count;
    (void)snprintf(path, sizeof path, "%s/api/1/series.txt", v->copy);
    (void)snprintf(old, sizeof old, "%s.old", path);
    cr_assert(rename(path, old) == 0);
    FILE *from = fopen(old, "re"), *to = fopen(path, "we");
    cr_assert(from != NULL && to != NULL);
    while (fgets(line, sizeof line, from) != NULL) {
        cr_assert(sscanf(line, "%d %d %127s", &n, &count, name) == 3);
        (void)fprintf(to, "%d %d %s\n", n, count + (n == number ? change : 0), name);
    }
    (void)fclose(from);
    cr_assert(fclose(to) == 0);
}

/* Goal: a point that is lost, doubled or changed, weights with another byte, and a submission that
 * is forgotten or done twice: each is found, and nothing else. */
Test(judge, finds_exactly_what_was_planted, .timeout = 120)
{
    static struct evidence v;
    char file[40];
    begin(&v);
    judge_watch_end(v.watcher);
    fresh_copy(&v);
    expect(&v, NULL);
    const int loss = number_of(&v, "train/loss");
    (void)snprintf(file, sizeof file, "api/1/%d.csv", loss);
    plant(&v, file, "18d"); /* the first line has the names of the columns */
    plant_count(&v, loss, -1);
    expect(&v, "lost_point experiment 1 train/loss step 17");
    fresh_copy(&v);
    plant(&v, file, "18p");
    plant_count(&v, loss, 1);
    expect(&v, "doubled_point experiment 1 train/loss step 17");
    fresh_copy(&v);
    plant(&v, file, "18s/,[0-9.]*$/,0.5/");
    expect(&v, "other_value experiment 1 train/loss step 17");
    fresh_copy(&v);
    plant_count(&v, loss, 1);
    expect(&v, "other_count experiment 1 train/loss");
    fresh_copy(&v);
    plant(&v, "api/1/weights.safetensors", "$s/.$/X/");
    expect(&v, "other_weights experiment 1");
    fresh_copy(&v);
    plant(&v, "client.log", "$a sent chaos-1-9 small\\nacked chaos-1-9 2 some-uid");
    expect(&v, "lost_experiment chaos-1-9, acknowledged as 2");
    fresh_copy(&v);
    plant(&v, "client.log", "$a cancelled 1");
    expect(&v, "wrong_state experiment 1 is succeeded");
    fresh_copy(&v);
    plant(&v, "alive.log", "1i began 1 1 7 999999");
    expect(&v, "two_alive experiment 1 attempts 7 and 1");
    end(&v);
}

/* Goal: evidence that is not whole is no evidence of anything. */
Test(judge, does_not_judge_what_is_missing, .timeout = 120)
{
    static struct evidence v;
    begin(&v);
    judge_watch_end(v.watcher);
    static const char *const files[] = { "client.log", "alive.log", "api/experiments.txt",
                                         "api/1/0.csv", "api/1/series.txt" };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[300];
        fresh_copy(&v);
        (void)snprintf(path, sizeof path, "%s/%s", v.copy, files[i]);
        cr_assert(unlink(path) == 0, "%s", path);
        cr_assert(judge_decide(v.copy, v.files, v.undisturbed, v.output) == 2, "%s", files[i]);
    }
    end(&v);
}

static pid_t second_worker(const struct evidence *v, const char *attempt)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/spiked-worker", v->c.s.folder);
    char *command = mem_printf("cp -n /bin/sleep %s; SPIKED_SERVER=unix:%s/state/worker.sock "
                               "SPIKED_EXPERIMENT=1 SPIKED_ATTEMPT=%s exec %s 60",
                               path, v->c.s.folder, attempt, path);
    const char *const argv[] = { "/bin/sh", "-c", command, NULL };
    const pid_t pid = program_start(argv, NULL);
    mem_free(command);
    return pid;
}

/* Goal: two processes that pass for workers of one experiment at the same time are seen; one after
 * the other they are not. */
Test(judge, sees_a_second_worker, .timeout = 120)
{
    static struct evidence v;
    begin(&v);
    for (int i = 0; i < 2; i++) { /* one after the other */
        const pid_t worker = second_worker(&v, "1");
        sleep_ms(300);
        (void)kill(worker, SIGKILL);
        (void)program_end(worker);
    }
    sleep_ms(100);
    fresh_copy(&v);
    plant(&v, "alive.log", "$a samples 1");
    expect(&v, NULL);
    const pid_t first = second_worker(&v, "1"), second = second_worker(&v, "2");
    sleep_ms(300);
    (void)kill(first, SIGKILL);
    (void)kill(second, SIGKILL);
    (void)program_end(first);
    (void)program_end(second);
    judge_watch_end(v.watcher);
    fresh_copy(&v);
    expect(&v, "two_alive experiment 1 attempts ");
    end(&v);
}
