/* worker_main: spiked-worker: trains, evaluates, plans, measures and checks spiking networks, with
 * a daemon (attempt) or without one. */
#include "worker/commands.h"
#include "worker/kernels/kernels.h"

#include "build_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv, struct err *e);
    const char *help;
} commands[] = {
    { "train", command_train,
      "SPEC.json --out DIR [--data-dir DIR] [--threads N] [--max-steps N] [--events FILE] "
      "[--step-mode MODE] [--weights FILE] [--resume]" },
    { "eval", command_eval,
      "SPEC.json --weights FILE [--data-dir DIR] [--threads N] [--predictions FILE.npy] "
      "[--step-mode MODE]" },
    { "plan", command_plan,
      "SPEC.json [--data-dir DIR] [--table | --expand] [--input CxHxW --classes N]" },
    { "bench", command_bench,
      "SPEC.json [--steps N] [--warmup N] [--threads N] [--data-dir DIR | --random-data] "
      "[--step-mode MODE]" },
    { "check-golden", command_check_golden,
      "DIR [--json] [--threads N] [--step-mode MODE|stream[:N]] [--path auto|event|dense|winograd] "
      "[--only PREFIX]" },
    { "attempt", command_attempt, "(started by the daemon; reads SPIKED_* from the environment)" },
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static int usage(FILE *out)
{
    (void)fprintf(out, "spiked-worker %s: trains deep spiking neural networks\n\n", SPIKED_VERSION);
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(out, "  spiked-worker %s %s\n", commands[i].name, commands[i].help);
    (void)fprintf(
        out, "\n  --version, --help; SPIKED_ISA=generic|avx2|avx512 forces an instruction set\n"
             "  MODE: multi, single or chunk:N, the time-steps of one call of a layer; equal "
             "results\n");
    return 0;
}

static int list_isas(void)
{
    for (int i = 0; i < ISA_COUNT; i++) {
        struct err e = { 0 };
        enum isa got;
        if (setenv("SPIKED_ISA", isa_name((enum isa)i), 1) == 0 && kernels_choose(&got, &e) == 0)
            (void)puts(isa_name((enum isa)i));
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) return usage(stdout);
    if (strcmp(name, "isas") == 0) return list_isas();
    if (strcmp(name, "--version") == 0) {
        (void)printf("spiked-worker %s (%s)\n", SPIKED_VERSION, SPIKED_BUILD);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        struct err e = { 0 };
        const int rc = commands[i].run(argc - 1, argv + 1, &e);
        if (rc == 0) return 0;
        (void)fprintf(stderr, "spiked-worker %s: %s (%s)\n", name, e.text, err_name(e.code));
        return err_exit_code(e.code);
    }
    (void)fprintf(stderr, "spiked-worker: unknown command '%s'\n", name);
    (void)usage(stderr);
    return err_exit_code(ERR_INVALID);
}
