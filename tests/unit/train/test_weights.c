/* Weight files: PyTorch's names and shapes, all faults of an import at once, nothing taken over
 * from a file that has any. */
#include "tests/unit/nets/net_fixture.h"
#include "worker/nets/safetensors.h"
#include "worker/train/checkpoint.h"

#include <unistd.h>

#define ENTRIES_MAX 40

static char path[60];

static struct net *build(struct layers *s, uint64_t seed)
{
    struct net_options o = fixture_options(2, 2);
    o.seed = seed;
    *s = whole_net();
    (void)snprintf(path, sizeof path, "/tmp/spiked-weights-%d", (int)getpid());
    return fixture_net(s, &o);
}

/* Entries of a file that fits the net exactly; values from `values`. */
static size_t entries_of(const struct net *n, const float *values,
                         struct safetensors_entry out[ENTRIES_MAX])
{
    memset(out, 0, ENTRIES_MAX * sizeof out[0]);
    cr_assert(net_param_count(n) + 2 <= ENTRIES_MAX);
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        out[i] = (struct safetensors_entry){ .type = SAFETENSORS_F32, .n_dims = p->n_dims,
                                             .elements = p->logical, .data = values };
        (void)snprintf(out[i].name, sizeof out[i].name, "%s", p->name);
        memcpy(out[i].dims, p->dims, p->n_dims * sizeof p->dims[0]);
        values += p->logical;
    }
    return net_param_count(n);
}

static float *collected(const struct net *n)
{
    float *all = mem_calloc(weights_floats(n), sizeof(float));
    weights_collect(n, all);
    return all;
}

static bool same_weights(const struct net *a, const struct net *b)
{
    float *x = collected(a), *y = collected(b);
    const bool same = memcmp(x, y, weights_floats(a) * sizeof x[0]) == 0;
    mem_free(x);
    mem_free(y);
    return same;
}

/* Goal: what is saved is loaded to the bit, the net's own values or others; names and shapes are
 * PyTorch's. */
Test(weights, round_trip, .timeout = 30)
{
    struct layers la, lb;
    struct net *a = build(&la, 1), *b = build(&lb, 2);
    struct err e = { 0 };
    struct safetensors f;
    cr_assert(!same_weights(a, b));
    cr_assert_eq(weights_save(path, a, NULL, 0, &e), 0, "%s", e.text);
    cr_assert_eq(weights_load(path, b, &e), 0, "%s", e.text);
    cr_assert(same_weights(a, b));
    cr_assert_eq(safetensors_read(path, &f, &e), 0);
    const struct safetensors_entry *w = safetensors_find(&f, "0.weight");
    cr_assert(w != NULL && w->n_dims == 4 && w->dims[0] == 20 && w->dims[1] == 2 &&
              w->dims[2] == 3 && w->dims[3] == 3);
    cr_assert(safetensors_find(&f, "1.running_var") != NULL &&
              safetensors_find(&f, "2.w") != NULL);
    safetensors_deinit(&f);

    float *others = collected(a);
    for (size_t i = 0; i < weights_floats(a); i++) others[i] = (float)i;
    cr_assert_eq(weights_save(path, a, others, 0, &e), 0, "%s", e.text);
    cr_assert_eq(weights_load(path, a, &e), 0, "%s", e.text);
    cr_assert(!same_weights(a, b));
    weights_restore(b, others);
    cr_assert(same_weights(a, b));
    (void)unlink(path);
    mem_free(others);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: PyTorch's counters of batches are no fault. */
Test(weights, counters_of_batches_are_ignored, .timeout = 30)
{
    struct layers la, lb;
    struct net *a = build(&la, 1), *b = build(&lb, 2);
    struct err e = { 0 };
    struct safetensors_entry entries[ENTRIES_MAX];
    const int64_t counter = 12;
    float *values = collected(a);
    size_t n = entries_of(a, values, entries);
    entries[n] = (struct safetensors_entry){ .name = "1.num_batches_tracked",
                                             .type = SAFETENSORS_I64, .elements = 1,
                                             .data = &counter };
    cr_assert_eq(safetensors_write(path, entries, n + 1, NULL, 0, &e), 0, "%s", e.text);
    cr_assert_eq(weights_load(path, b, &e), 0, "%s", e.text);
    cr_assert(same_weights(a, b));
    (void)unlink(path);
    mem_free(values);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: a missing, an unexpected and a wrongly shaped tensor are all named, and no weight
 * changes. */
Test(weights, all_faults_at_once, .timeout = 30)
{
    struct layers la, lb;
    struct net *a = build(&la, 1), *b = build(&lb, 1);
    struct err e = { 0 };
    struct safetensors_entry entries[ENTRIES_MAX];
    float *values = collected(a);
    for (size_t i = 0; i < weights_floats(a); i++) values[i] += 1.0f;
    const size_t n = entries_of(a, values, entries);
    cr_assert_str_eq(entries[0].name, "0.weight");
    entries[0].dims[2] = 9; /* 3 x 3 taps as 9 x 1 */
    entries[0].dims[3] = 1;
    cr_assert_str_eq(entries[n - 1].name, "12.weight", "%s", entries[n - 1].name);
    (void)snprintf(entries[n - 1].name, sizeof entries[0].name, "head.weight");
    cr_assert_eq(safetensors_write(path, entries, n, NULL, 0, &e), 0, "%s", e.text);
    cr_assert_eq(weights_load(path, b, &e), ERR_DATA);
    cr_assert(strstr(e.text, "0.weight (wrong shape)") != NULL, "%s", e.text);
    cr_assert(strstr(e.text, "12.weight (missing)") != NULL, "%s", e.text);
    cr_assert(strstr(e.text, "head.weight (unexpected)") != NULL, "%s", e.text);
    cr_assert(same_weights(a, b), "a faulty file changed the net");
    (void)unlink(path);
    mem_free(values);
    net_destroy(a);
    net_destroy(b);
}

/* Goal: a file that is not there is an error with its name. */
Test(weights, missing_file, .timeout = 30)
{
    struct layers la;
    struct net *a = build(&la, 1);
    struct err e = { 0 };
    cr_assert_neq(weights_load("/tmp/spiked-no-such-file", a, &e), 0);
    cr_assert(strstr(e.text, "spiked-no-such-file") != NULL, "%s", e.text);
    net_destroy(a);
}

/* Goal: a batch normalisation counts its batches as PyTorch does: an I64 scalar for each, beside
 * weights that are loaded whatever it says. */
Test(weights, batches_are_counted_as_pytorch_does, .timeout = 30)
{
    struct layers la, lb;
    struct net *a = build(&la, 1), *b = build(&lb, 2);
    struct err e = { 0 };
    struct safetensors f;
    cr_assert_eq(weights_save(path, a, NULL, 1234567890123, &e), 0, "%s", e.text);
    cr_assert_eq(safetensors_read(path, &f, &e), 0, "%s", e.text);
    static const char *const names[] = { "1.num_batches_tracked", "5.num_batches_tracked" };
    for (size_t i = 0; i < 2; i++) {
        const struct safetensors_entry *t = safetensors_find(&f, names[i]);
        cr_assert(t != NULL && t->type == SAFETENSORS_I64 && t->n_dims == 0 && t->elements == 1);
        cr_assert_eq(*(const int64_t *)t->data, 1234567890123);
    }
    cr_assert_eq(f.count, net_param_count(a) + 2);
    safetensors_deinit(&f);
    cr_assert(!same_weights(a, b));
    cr_assert_eq(weights_load(path, b, &e), 0, "%s", e.text);
    cr_assert(same_weights(a, b));
    (void)unlink(path);
    net_destroy(a);
    net_destroy(b);
}
