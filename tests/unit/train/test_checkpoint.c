/* Checkpoints: everything comes back, damaged files are passed over, a file appears whole or not
 * at all. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/nets/safetensors.h"
#include "worker/train/checkpoint.h"

#include "common/log.h"
#include "common/mem.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct spec_optimizer adam = { .type = SPEC_ADAM, .lr = 0.1, .beta1 = 0.9,
                                            .beta2 = 0.999, .eps = 1e-8 };

/* A net with its optimiser and position, and a folder of its own. */
struct world {
    struct net *net;
    struct layers layers;
    struct optimizer optimizer;
    struct checkpoint_state at;
    char dir[40];
};

static struct world *make(uint64_t seed)
{
    struct world *w = mem_calloc(1, sizeof *w);
    struct net_options o = fixture_options(2, 2);
    struct err e = { 0 };
    size_t floats;
    log_set_level(LOG_ERROR);
    o.seed = seed;
    w->layers = whole_net();
    w->net = fixture_net(&w->layers, &o);
    (void)net_weights(w->net, &floats);
    cr_assert_eq(optimizer_init(&w->optimizer, &adam, floats, &e), 0);
    w->at.best_accuracy = NAN;
    w->at.best_floats = weights_floats(w->net);
    w->at.best = mem_calloc(w->at.best_floats, sizeof(float));
    (void)snprintf(w->at.result_hash, sizeof w->at.result_hash, "%064d", 7);
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/spiked-checkpoint-XXXXXX");
    cr_assert(mkdtemp(w->dir) != NULL);
    return w;
}

static void drop(struct world *w)
{
    DIR *d = opendir(w->dir);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL) (void)closedir(d);
    (void)rmdir(w->dir);
    mem_free(w->at.best);
    optimizer_deinit(&w->optimizer);
    net_destroy(w->net);
    mem_free(w);
}

/* As after `step` updates. */
static void advance(struct world *w, uint64_t step)
{
    const size_t more = 7 + net_param_count(w->net);
    float *all = mem_calloc(w->at.best_floats + more, sizeof(float));
    for (size_t i = 0; i < w->at.best_floats + more; i++) {
        all[i] = (float)fixture_number(step * 1000003 + i);
        if (i < w->at.best_floats) w->at.best[i] = -all[i];
    }
    weights_restore(w->net, all);
    for (size_t i = 0; i < net_param_count(w->net); i++) /* moments: other numbers of those */
        for (size_t k = 0; k < 2 && net_param(w->net, i)->role == NET_WEIGHT; k++)
            net_param_pack(w->net, i, all + 7 * k + i, w->optimizer.slot[k]);
    w->optimizer.updates = step;
    w->at.step = step;
    w->at.epoch = step / 10;
    w->at.cursor = step % 10 * 16;
    w->at.best_step = step > 2 ? step - 2 : 0;
    w->at.best_accuracy = 1.0 / (double)(step + 2);
    w->at.val_loss = 1.0 / (double)(step + 3);
    w->at.val_accuracy = 1.0 / (double)(step + 4);
    w->at.val_step = step;
    mem_free(all);
}

static void save(struct world *w, uint64_t step, size_t keep)
{
    struct err e = { 0 };
    advance(w, step);
    cr_assert_eq(checkpoint_save(w->dir, w->net, &w->optimizer, &w->at, keep, &e), 0, "%s",
                 e.text);
}

static void path_of(const struct world *w, int step, char out[120])
{
    (void)snprintf(out, 120, "%s/checkpoint-%d.safetensors", w->dir, step);
}

static size_t files_in(const struct world *w)
{
    size_t n = 0;
    DIR *d = opendir(w->dir);
    cr_assert(d != NULL);
    for (struct dirent *f; (f = readdir(d)) != NULL;) n += f->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static bool load(const struct world *from, struct world *to)
{
    struct err e = { 0 };
    bool found = false;
    cr_assert_eq(checkpoint_load(from->dir, to->net, &to->optimizer, &to->at, &found, &e), 0,
                 "%s", e.text);
    return found;
}

/* Everything a training goes on from is the same in both. */
static bool alike(struct world *a, struct world *b)
{
    const size_t n = a->at.best_floats, floats = a->optimizer.floats;
    float *x = mem_calloc(n, sizeof(float)), *y = mem_calloc(n, sizeof(float));
    weights_collect(a->net, x);
    weights_collect(b->net, y);
    const bool same =
        memcmp(x, y, n * sizeof x[0]) == 0 &&
        memcmp(a->at.best, b->at.best, n * sizeof x[0]) == 0 &&
        memcmp(a->optimizer.slot[0], b->optimizer.slot[0], floats * sizeof x[0]) == 0 &&
        memcmp(a->optimizer.slot[1], b->optimizer.slot[1], floats * sizeof x[0]) == 0 &&
        a->optimizer.updates == b->optimizer.updates && a->at.step == b->at.step &&
        a->at.epoch == b->at.epoch && a->at.cursor == b->at.cursor &&
        a->at.tested == b->at.tested && a->at.best_accuracy == b->at.best_accuracy &&
        a->at.best_step == b->at.best_step && a->at.val_loss == b->at.val_loss &&
        a->at.val_accuracy == b->at.val_accuracy && a->at.val_step == b->at.val_step;
    mem_free(x);
    mem_free(y);
    return same;
}

/* Goal: weights, buffers, best weights, moments and position survive; an empty folder says there is
 * none. */
Test(checkpoint, round_trip, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    cr_assert(!load(a, b) && b->at.step == 0, "found something in an empty folder");
    a->at.tested = true;
    save(a, 37, 1);
    cr_assert(!alike(a, b));
    cr_assert(load(a, b) && alike(a, b) && b->at.epoch == 3 && b->at.cursor == 112);
    drop(a);
    drop(b);
}

/* Goal: moments lie in the file as PyTorch has them: one tensor a parameter, its shape, its order;
 * batches of a normalisation are counted, for the best weights too. */
Test(checkpoint, moments_have_the_shape_of_their_parameters, .timeout = 30)
{
    struct world *a = make(1);
    struct safetensors f;
    struct err e = { 0 };
    char path[120], name[200];
    static const char *const slots[] = { "exp_avg", "exp_avg_sq" };
    save(a, 37, 1);
    path_of(a, 37, path);
    cr_assert_eq(safetensors_read(path, &f, &e), 0, "%s", e.text);
    float *want = mem_calloc(a->at.best_floats, sizeof(float));
    size_t expected = 2 * net_param_count(a->net) + 4; /* two normalisations, twice */
    for (size_t i = 0; i < net_param_count(a->net); i++) {
        const struct net_param *p = net_param(a->net, i);
        for (size_t k = 0; k < 2 && p->role == NET_WEIGHT; k++, expected++) {
            (void)snprintf(name, sizeof name, "optimizer.%s.%s", slots[k], p->name);
            const struct safetensors_entry *t = safetensors_find(&f, name);
            cr_assert(t != NULL && t->type == SAFETENSORS_F32 && t->n_dims == p->n_dims, "%s",
                      name);
            cr_assert_eq(memcmp(t->dims, p->dims, p->n_dims * sizeof p->dims[0]), 0, "%s", name);
            net_param_unpack(a->net, i, a->optimizer.slot[k], want);
            cr_assert_eq(memcmp(t->data, want, p->logical * sizeof want[0]), 0, "%s", name);
        }
    }
    cr_assert_eq(f.count, expected, "%zu tensors, not %zu", f.count, expected);
    const struct safetensors_entry *now = safetensors_find(&f, "1.num_batches_tracked");
    const struct safetensors_entry *best = safetensors_find(&f, "best.5.num_batches_tracked");
    cr_assert(now != NULL && best != NULL && *(const int64_t *)now->data == 37 &&
              *(const int64_t *)best->data == 35);
    safetensors_deinit(&f);
    mem_free(want);
    drop(a);
}

static void made_by(struct world *w, const char *build, const char *cpu)
{
    (void)snprintf(w->at.build, sizeof w->at.build, "%s", build);
    (void)snprintf(w->at.cpu, sizeof w->at.cpu, "%s", cpu);
}

/* Goal: a checkpoint says which build and CPU made it; another one goes on from it, bit by bit, and
 * the mark that it did stays in all later checkpoints. */
Test(checkpoint, another_build_or_cpu_goes_on_and_says_so, .timeout = 30)
{
    static const char *const makers[][2] = {
        { "v1", "avx2 Haswell" }, { "v2", "avx2 Haswell" }, { "v1", "avx512 SkylakeX" }
    };
    for (size_t i = 0; i < 3; i++) {
        struct world *a = make(1), *b = make(2), *c = make(3);
        made_by(a, makers[0][0], makers[0][1]);
        made_by(b, makers[i][0], makers[i][1]);
        made_by(c, makers[i][0], makers[i][1]);
        save(a, 4, 1);
        cr_assert(load(a, b) && alike(a, b));
        cr_assert(strcmp(b->at.mixed, i == 0 ? "" : "v1 on avx2 Haswell") == 0, "%s",
                  b->at.mixed);
        save(b, 5, 1);
        cr_assert(load(b, c) && strcmp(c->at.mixed, b->at.mixed) == 0, "%s", c->at.mixed);
        drop(a);
        drop(b);
        drop(c);
    }
}

/* Goal: before any validation there are no best weights and no accuracy, and that comes back. */
Test(checkpoint, without_a_best_yet, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    struct err e = { 0 };
    advance(a, 2);
    a->at.best_accuracy = NAN;
    cr_assert_eq(checkpoint_save(a->dir, a->net, &a->optimizer, &a->at, 1, &e), 0, "%s", e.text);
    cr_assert(load(a, b) && b->at.step == 2 && b->at.best_step == 0 &&
              isnan(b->at.best_accuracy));
    drop(a);
    drop(b);
}

/* Goal: only the newest files stay, one a step, named by it. */
Test(checkpoint, keeps_the_newest, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    static const uint64_t steps[] = { 5, 9, 10, 100 }; /* not in the order of the letters */
    char path[120];
    for (int i = 0; i < 4; i++) save(a, steps[i], 2);
    cr_assert_eq(files_in(a), 2);
    path_of(a, 10, path);
    cr_assert_eq(access(path, R_OK), 0);
    path_of(a, 100, path);
    cr_assert_eq(access(path, R_OK), 0);
    cr_assert(load(a, b) && b->at.step == 100);
    drop(a);
    drop(b);
}

/* Flips a bit at `at`, or from the end when negative. */
static void damage(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    cr_assert(f != NULL && fseek(f, at, at < 0 ? SEEK_END : SEEK_SET) == 0);
    const int byte = fgetc(f);
    cr_assert(byte != EOF && fseek(f, -1, SEEK_CUR) == 0);
    cr_assert(fputc(byte ^ 1, f) != EOF && fclose(f) == 0);
}

/* Goal: one bit anywhere, in length, header or values, makes a file be passed over for the one
 * before; when none is left, net and position stay as they were. */
Test(checkpoint, damaged_files_are_passed_over, .timeout = 60)
{
    static const long places[] = { 0, 5, 8, 40, 200, -1, -1000, -20000 };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct world *a = make(1), *b = make(2), *c = make(2);
        char path[120];
        save(a, 4, 2);
        save(a, 8, 2);
        path_of(a, 8, path);
        damage(path, places[i]);
        cr_assert(load(a, b) && b->at.step == 4, "bit at %ld: took step %d", places[i],
                  (int)b->at.step);
        advance(a, 4);
        cr_assert(alike(a, b), "bit at %ld", places[i]);
        path_of(a, 4, path);
        damage(path, places[i]);
        advance(b, 3);
        advance(c, 3);
        cr_assert(!load(a, b) && alike(b, c), "bit at %ld: a damaged file was used", places[i]);
        drop(a);
        drop(b);
        drop(c);
    }
}

/* Goal: a file cut at any length is passed over, an empty one too. */
Test(checkpoint, cut_files_are_passed_over, .timeout = 60)
{
    struct world *a = make(1), *b = make(2);
    char path[120];
    struct stat st;
    save(a, 4, 2);
    save(a, 8, 2);
    path_of(a, 8, path);
    cr_assert_eq(stat(path, &st), 0);
    const off_t lengths[] = { st.st_size - 1, st.st_size / 2, 100, 8, 3, 0 };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        cr_assert_eq(truncate(path, lengths[i]), 0);
        cr_assert(load(a, b) && b->at.step == 4, "%ld bytes", (long)lengths[i]);
    }
    drop(a);
    drop(b);
}

static void touch(const struct world *w, const char *name)
{
    char path[120];
    (void)snprintf(path, sizeof path, "%s/%s", w->dir, name);
    FILE *f = fopen(path, "w");
    cr_assert(f != NULL && fclose(f) == 0);
}

/* Goal: a run in a folder with checkpoints of later steps keeps its own and lets those be. */
Test(checkpoint, the_one_just_written_stays, .timeout = 30)
{
    struct world *a = make(1);
    char path[120];
    save(a, 100, 2);
    save(a, 200, 2);
    save(a, 5, 1);
    path_of(a, 5, path);
    cr_assert_eq(access(path, R_OK), 0, "checkpoint-5 is gone");
    save(a, 6, 1);
    cr_assert(access(path, R_OK) != 0, "checkpoint-5 is still there");
    cr_assert_eq(files_in(a), 3, "%zu files", files_in(a));
    drop(a);
}

/* Goal: the newest is found, and the old ones go, among any number of files. */
Test(checkpoint, among_many_files, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    char name[60];
    for (int i = 1; i <= 600; i++) {
        (void)snprintf(name, sizeof name, "checkpoint-%d.safetensors", i);
        touch(a, name);
    }
    save(a, 1000, 1000);
    cr_assert(load(a, b) && b->at.step == 1000);
    save(a, 1001, 2);
    cr_assert_eq(files_in(a), 2, "%zu files", files_in(a));
    drop(a);
    drop(b);
}

/* Goal: what a killed writer left behind, and files of others, are neither read nor deleted. */
Test(checkpoint, other_names_are_left_alone, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    touch(a, "checkpoint-99.safetensors.part");
    touch(a, "checkpoint-98.safetensors~");
    touch(a, "checkpoint-x.safetensors");
    touch(a, "weights.safetensors");
    save(a, 6, 1);
    save(a, 7, 1);
    cr_assert_eq(files_in(a), 5, "%zu files", files_in(a));
    cr_assert(load(a, b) && b->at.step == 7);
    drop(a);
    drop(b);
}

/* Goal: a write that fails half way names the file and leaves the older checkpoint alone; nothing
 * unfinished stays. */
Test(checkpoint, a_failed_write_changes_nothing, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    struct err e = { 0 };
    struct rlimit old, tiny;
    save(a, 4, 1);
    advance(a, 8);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    tiny = (struct rlimit){ 4096, old.rlim_max };
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    const int rc = checkpoint_save(a->dir, a->net, &a->optimizer, &a->at, 1, &e);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert(rc == ERR_IO && strstr(e.text, "checkpoint-8.safetensors") != NULL, "%s", e.text);
    cr_assert_eq(files_in(a), 1, "%zu files", files_in(a));
    cr_assert(load(a, b) && b->at.step == 4);
    drop(a);
    drop(b);
}

/* Goal: a checkpoint of another spec is no damage: it is refused, and nothing is taken over. */
Test(checkpoint, another_spec_is_refused, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    struct err e = { 0 };
    bool found = false;
    save(a, 4, 1);
    b->at.result_hash[3] = '1';
    cr_assert_eq(checkpoint_load(a->dir, b->net, &b->optimizer, &b->at, &found, &e), ERR_CONFLICT);
    cr_assert(!found && b->at.step == 0 && b->optimizer.updates == 0);
    cr_assert(strstr(e.text, "checkpoint-4") != NULL, "%s", e.text);
    drop(a);
    drop(b);
}

/* Goal: a run that begins anew does not mix its checkpoints with those of another spec; its own
 * and damaged ones are no hindrance. */
Test(checkpoint, a_new_run_refuses_the_folder_of_another_spec, .timeout = 30)
{
    struct world *a = make(1);
    struct err e = { 0 };
    char other[DIGEST_HEX_MAX], path[120];
    memcpy(other, a->at.result_hash, sizeof other);
    other[3] = '1';
    cr_assert_eq(checkpoint_refuse_foreign(a->dir, other, &e), 0, "an empty folder");
    save(a, 4, 1);
    cr_assert_eq(checkpoint_refuse_foreign(a->dir, a->at.result_hash, &e), 0, "%s", e.text);
    cr_assert_eq(checkpoint_refuse_foreign(a->dir, other, &e), ERR_CONFLICT);
    cr_assert(strstr(e.text, "--resume") != NULL && strstr(e.text, "--out") != NULL, "%s", e.text);
    path_of(a, 4, path);
    damage(path, -8);
    cr_assert_eq(checkpoint_refuse_foreign(a->dir, other, &e), 0, "%s", e.text);
    drop(a);
}

/* Goal: a new attempt gets the newest whole checkpoint of the one before, once, with its name. */
Test(checkpoint, link_takes_the_newest_whole_one, .timeout = 30)
{
    struct world *a = make(1), *b = make(2);
    struct err e = { 0 };
    char path[120];
    bool found = true;
    cr_assert(checkpoint_link(a->dir, b->dir, &found, &e) == 0 && !found);
    save(a, 4, 3);
    save(a, 8, 3);
    save(a, 9, 3);
    path_of(a, 9, path);
    damage(path, -8);
    for (int again = 0; again < 2; again++)
        cr_assert(checkpoint_link(a->dir, b->dir, &found, &e) == 0 && found, "%s", e.text);
    cr_assert_eq(files_in(b), 1);
    struct world *c = make(3);
    cr_assert(load(b, c) && c->at.step == 8);
    drop(a);
    drop(b);
    drop(c);
}
