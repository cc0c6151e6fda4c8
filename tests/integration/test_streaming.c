/* Story of streamed evaluation: a network that the daemon trained, its weights downloaded, gives
 * the same predictions when time-steps come one by one. Runs in the root of the repository. */
#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define ONE "/api/v1/experiments/1"
#define TEST_SAMPLES 100
#define CLASSES 10

/* State is carried by a potential, by the last two inputs and by a synaptic current. */
static const char trained[] =
    "{\"version\": 1, \"name\": \"stream\", \"time_steps\": 5, "
    "\"dataset\": {\"name\": \"glyphs\", \"train_limit\": 640, \"test_limit\": 100}, "
    "\"network\": {\"layers\": ["
    "{\"type\": \"conv2d\", \"out_channels\": 16, \"kernel_size\": 3, \"stride\": 2}, "
    "{\"type\": \"batch_norm\"}, {\"type\": \"neuron\", \"model\": \"plif\", \"v_init\": 0.3}, "
    "{\"type\": \"max_pool2d\", \"kernel_size\": 2}, {\"type\": \"flatten\"}, "
    "{\"type\": \"linear\", \"out_features\": 32}, "
    "{\"type\": \"neuron\", \"model\": \"sliding_psn\", \"k\": 3}, "
    "{\"type\": \"linear\", \"out_features\": 30}, "
    "{\"type\": \"neuron\", \"model\": \"cuba_lif\"}, "
    "{\"type\": \"linear\", \"out_features\": 10}]}, "
    "\"train\": {\"epochs\": 2, \"batch_size\": 16, \"loss\": {\"type\": \"cross_entropy\"}}, "
    "\"resources\": {\"threads\": 1}}";

static const char parallel[] =
    "{\"version\": 1, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": 40, "
    "\"test_limit\": 20}, \"network\": {\"layers\": [{\"type\": \"flatten\"}, "
    "{\"type\": \"linear\", \"out_features\": 10}, "
    "{\"type\": \"neuron\", \"model\": \"psn\"}]}, \"train\": {\"batch_size\": 20}}";

static void write_file(const struct service *s, const char *name, const char *data, size_t bytes)
{
    char *path = mem_printf("%s/%s", s->folder, name);
    FILE *f = fopen(path, "wbe");
    cr_assert(f != NULL && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0, "%s", path);
    mem_free(path);
}

/* The file; caller frees. */
static char *read_file(const struct service *s, const char *name, const char *end, size_t *bytes)
{
    char *path = mem_printf("%s/%s%s", s->folder, name, end);
    char *data = mem_calloc(1, 1 << 16);
    FILE *f = fopen(path, "rbe");
    cr_assert(f != NULL && data != NULL, "%s", path);
    *bytes = fread(data, 1, (1 << 16) - 1, f);
    fclose(f);
    mem_free(path);
    return data;
}

/* Exit code of a shell command in the service's folder; W is the worker. */
static int shell(const struct service *s, const char *command)
{
    char *line = mem_printf("W=$PWD/build/spiked-worker; cd %s; %s", s->folder, command);
    const int rc = system(line);
    mem_free(line);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

/* MODE.npy has the readouts of every sample, MODE.json what was measured. */
static void evaluate(const struct service *s, const char *mode)
{
    char *command = mem_printf("$W eval net.json --weights net.safetensors --predictions %s.npy "
                               "--step-mode %s >%s.json", mode, mode, mode);
    cr_assert_eq(shell(s, command), 0, "%s", command);
    mem_free(command);
}

static void same_bytes(const struct service *s, const char *mode, const char *end)
{
    size_t n, m;
    char *all = read_file(s, "multi", end, &n), *stream = read_file(s, mode, end, &m);
    cr_assert(n > 0 && n == m && memcmp(all, stream, n) == 0, "%s%s: %.*s", mode, end,
              strcmp(end, ".json") == 0 ? (int)m : 0, stream);
    mem_free(all);
    mem_free(stream);
}

/* What the daemon's own worker measured at the end. */
static void same_accuracy_as_trained(const struct service *s)
{
    size_t n;
    char *text = read_file(s, "multi", ".json", &n);
    cJSON *got = cJSON_Parse(text), *x = experiment(s, 1);
    const double accuracy = json_get_number(got, "test_accuracy", -1);
    cr_assert_gt(accuracy, 0.2, "%s", text);
    cr_assert_eq(accuracy, json_get_number(json_get(x, "summary"), "test_accuracy", -2), "%s",
                 text);
    cJSON_Delete(got);
    cJSON_Delete(x);
    mem_free(text);
}

/* It is the streamed evaluation that ran: a network that needs steps to come is refused by name. */
static void cannot_stream(const struct service *s)
{
    write_file(s, "psn.json", parallel, sizeof parallel - 1);
    cr_assert_eq(shell(s, "$W train psn.json --out out --max-steps 1 >/dev/null 2>&1"), 0);
    cr_assert_eq(shell(s, "$W eval psn.json --weights out/weights.safetensors >/dev/null"), 0);
    cr_assert_eq(shell(s, "$W eval psn.json --weights out/weights.safetensors --step-mode single "
                          "2>&1 | grep -q 'layer 2 (psn) cannot be evaluated step by step'"), 0);
}

/* Goal: predictions, accuracy, loss, firing rates and operations of a stream are those of all
 * time-steps at once, bit by bit. */
Test(streaming, a_trained_network_streams_with_the_same_bits, .timeout = 60)
{
    struct service s = { 0 };
    size_t n;
    service_start(&s);
    cr_assert_eq(submit(&s, trained), 1);
    cr_assert(wait_state(&s, 1, "succeeded", 40));
    struct answer a = http_get(&s, ONE "/artifacts/weights.safetensors");
    cr_assert(a.status == 200 && a.length > 0);
    write_file(&s, "net.safetensors", a.body, a.length);
    write_file(&s, "net.json", trained, sizeof trained - 1);
    answer_free(&a);
    static const char *const modes[] = { "multi", "single", "chunk:2", "chunk:5" };
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        evaluate(&s, modes[i]);
        same_bytes(&s, modes[i], ".npy");
        same_bytes(&s, modes[i], ".json");
    }
    mem_free(read_file(&s, "single", ".npy", &n));
    cr_assert_eq(n, 128 + TEST_SAMPLES * CLASSES * sizeof(float));
    same_accuracy_as_trained(&s);
    cannot_stream(&s);
    service_end(&s);
}
