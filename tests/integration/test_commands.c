/* Stories of spiked-worker without a daemon: weights go from run to run as files; potentials are
 * read out; 152 layers learn. Runs in the root of the repository. */
#include "common/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

static char folder[64];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/spiked-story-commands-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

/* Runs a shell command, in which $F is the folder, and wants this exit code. */
static void expect(int rc, const char *command)
{
    char *line = mem_printf("W() { build/spiked-worker \"$@\" >/dev/null 2>&1; }; F=%s; %s", folder,
                            command);
    const int got = system(line);
    cr_assert(WIFEXITED(got) && WEXITSTATUS(got) == rc, "%s: %d", command, got);
    mem_free(line);
}

/* train: fields of "train" after the batch size */
static void write_spec(const char *name, const char *train)
{
    char *path = mem_printf("%s/%s.json", folder, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    (void)fprintf(f,
                  "{\"version\": 1, \"dataset\": {\"name\": \"glyphs\", \"train_limit\": 200, "
                  "\"test_limit\": 50}, \"network\": {\"layers\": [{\"type\": \"flatten\"}, "
                  "{\"type\": \"linear\", \"out_features\": 10}, {\"type\": \"neuron\", \"model\": "
                  "\"plif\"}]}, \"train\": {\"batch_size\": 20%s}}\n",
                  train);
    cr_assert_eq(fclose(f), 0);
    mem_free(path);
}

/* Goal: training begins with the weights of a file, eval reads them, predictions are the same then;
 * a checkpoint goes before the file, and a file of another network is refused by name. */
Test(commands, weights_go_from_run_to_run, .timeout = 60)
{
    make_folder();
    write_spec("learns", "");
    write_spec("still", ", \"optimizer\": {\"type\": \"sgd\", \"lr\": 1e-30}");
    write_spec("other", ", \"readout\": \"last\"");
    expect(0, "W train $F/learns.json --out $F/a --max-steps 6");
    expect(0, "W train $F/learns.json --out $F/b --max-steps 2");
    expect(1, "cmp -s $F/a/weights.safetensors $F/b/weights.safetensors");
    expect(0, "W train $F/still.json --out $F/c --max-steps 2 "
              "--weights $F/a/weights.safetensors");
    expect(0, "cmp $F/a/weights.safetensors $F/c/weights.safetensors");
    expect(0, "W train $F/still.json --out $F/c --max-steps 4 --resume "
              "--weights $F/b/weights.safetensors");
    expect(0, "cmp $F/a/weights.safetensors $F/c/weights.safetensors");
    expect(0, "W eval $F/learns.json --weights $F/a/weights.safetensors "
              "--predictions $F/a.npy");
    expect(0, "W eval $F/still.json --weights $F/c/weights.safetensors "
              "--predictions $F/c.npy");
    expect(0, "cmp $F/a.npy $F/c.npy");
    expect(0, "test $(wc -c <$F/a.npy) = $((128 + 50 * 10 * 4))");
    expect(0, "W eval $F/other.json --weights $F/a/weights.safetensors "
              "--predictions $F/other.npy");
    expect(1, "cmp -s $F/a.npy $F/other.npy");
    expect(0, "build/spiked-worker train examples/quickstart.json --out $F/d --max-steps 1 "
              "--weights $F/a/weights.safetensors 2>&1 | grep -q '0.weight (missing)'");
    expect(0, "rm -r $F");
}

/* Goal: a network whose last neurons never fire learns from their potentials, the largest and those
 * furthest from 0; guessing is right in 0.1 of the cases. */
Test(commands, potentials_are_read_out, .timeout = 300)
{
    static const char *const readouts[] = { "max_membrane", "max_abs_membrane" };
    make_folder();
    for (size_t i = 0; i < 2; i++) {
        char *command = mem_printf("sed 's/max_membrane/%s/; s/\"glyphs\"/&, \"train_limit\": "
                                   "1600/' examples/glyphs-readout.json >$F/spec.json; "
                                   "rm -rf $F/run; W train $F/spec.json --out $F/run",
                                   readouts[i]);
        expect(0, command);
        mem_free(command);
        expect(0, "awk -F': ' '/\"test_accuracy\"/ { good = $2 + 0 > 0.7 } END { exit !good }' "
                  "$F/run/summary.json");
    }
    expect(0, "rm -r $F");
}

/* Goal: what is refused is answered with all that would be taken, and nothing more. */
Test(commands, refusals_offer_what_there_is, .timeout = 30)
{
    make_folder();
    expect(0, "build/spiked-worker check-golden $F --step-mode bogus 2>&1 | "
              "grep -q 'must be multi, single, chunk:N, stream or stream:N with N from 1'");
    expect(0, "build/spiked-worker check-golden $F --step-mode stream:0 2>&1 | "
              "grep -q -- '--step-mode stream:0: must be multi, '");
    expect(0, "build/spiked-worker check-golden $F --path bogus 2>&1 | "
              "grep -q 'path bogus: must be auto, event, dense or winograd '");
    expect(0, "rm -r $F");
}

/* Goal: parameters of a network are counted for samples of any shape, with no data at hand, and
 * what does not fit that shape is named. */
Test(commands, plans_need_no_data, .timeout = 30)
{
    make_folder();
    expect(0, "echo '{\"version\": 1, \"network\": {\"preset\": \"sew_7b\"}}' >$F/7b.json");
    expect(0, "echo '{\"version\": 1, \"dataset\": {\"name\": \"glyphs\"}, \"network\": "
              "{\"layers\": [{\"type\": \"sew_block\", \"out_channels\": 3}, {\"type\": "
              "\"flatten\"}, {\"type\": \"linear\", \"out_features\": 6}]}}' >$F/block.json");
    expect(0, "build/spiked-worker plan $F/7b.json --input 2x128x128 --classes 11 | "
              "grep -q '\"parameters\":[[:space:]]*130426,'");
    expect(0, "W plan $F/block.json --input 3x5x7 --classes 6");
    expect(0, "build/spiked-worker plan $F/block.json --input 3x5x7 --classes 5 2>&1 | "
              "grep -q '/network/layers/2/out_features: must be the 5 classes'");
    expect(0, "build/spiked-worker plan $F/7b.json --input 2x20x128 --classes 11 2>&1 | "
              "grep -q '/network/preset: layer conv'");
    expect(64, "W plan $F/block.json");
    expect(0, "for half in '--input 2x128x128' '--classes 11'; do "
              "build/spiked-worker plan examples/quickstart.json $half 2>&1 | "
              "grep -q 'input CxHxW and --classes N go together' || exit 1; done");
    static const char *const wrong[] = { "2x128",  "2x0x2", "2x3x4x5",
                                         "2x-3x4", "ax2x3", "2x3x65537" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *command = mem_printf("build/spiked-worker plan $F/7b.json --classes 9 --input %s "
                                   "2>&1 | grep -q -- '--input %s: must be CxHxW'",
                                   wrong[i], wrong[i]);
        expect(0, command);
        mem_free(command);
    }
    expect(0, "rm -r $F");
}

/* Goal: bench times each layer both ways and tells what it read and which path it took. */
Test(commands, bench_profiles_layers, .timeout = 60)
{
    make_folder();
    expect(0, "for path in event dense; do SPIKED_PATH=$path build/spiked-worker bench "
              "examples/quickstart.json --random-data --steps 1 --warmup 0 >$F/$path || exit 1; "
              "done");
    expect(0, "test $(grep -c '\"forward_ms\": [0-9]' $F/event) = 10");
    expect(0, "test $(grep -c '\"backward_ms\": [0-9]' $F/event) = 10");
    expect(0, "test $(grep -c '\"input_density\": 0\\.[0-9]' $F/event) = 5");
    expect(0, "test $(grep -c '_path\": \"event\"' $F/event) = 4");
    expect(0, "test $(grep -c '_path\": \"event\"' $F/dense) = 0");
    expect(
        0,
        "SPIKED_PATH=bogus build/spiked-worker plan examples/quickstart.json 2>&1 | grep -q bogus");
    expect(0,
           "build/spiked-worker bench examples/quickstart.json --random-data --steps 2 --warmup 1 "
           ">$F/steady && grep -q '\"page_faults_per_step\": 0,' $F/steady");
    expect(0, "grep -q '\"event_share\": 1' $F/event && ! grep -q '\"event_share\": 1' $F/dense");
    expect(0, "rm -r $F");
}

/* Goal: gradients reach the first block of a SEW-ResNet-152 as strong as the last, those of the
 * spiking ResNet do not; a bound that cannot be met is not met. `make prove` trains longer. */
Test(commands, gradients_reach_every_depth, .timeout = 300)
{
    make_folder();
    expect(0, "bash tests/gradient_depth.sh 152 12 10 >$F/table");
    expect(0, "test $(grep -c '^| layer' $F/table) = 50");
    expect(1, "bash tests/gradient_depth.sh 18 2 1e6 >$F/table");
    expect(0, "rm -r $F");
}
