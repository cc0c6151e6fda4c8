/* server_main: the command line of spiked. */
#include "common/log.h"
#include "common/mem.h"
#include "common/spec.h"
#include "server/backup_command.h"
#include "server/permission_docs.h"
#include "server/serve.h"
#include "server/serve_tls.h"
#include "server/state_docs.h"
#include "server/token_command.h"

#include "build_id.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static int usage(void)
{
    (void)printf(
        "spiked %s: training service for deep spiking neural networks\n\n"
        "  spiked serve [OPTIONS]          the daemon\n"
        "  spiked token create|list|revoke tokens of people, through the daemon's socket\n"
        "  spiked backup FILE              one file that holds everything, also while it is used\n"
        "  spiked restore FILE --state-dir NEW\n"
        "                                  a state directory from that file\n"
        "  spiked check-config [OPTIONS]   read the options of serve and say what is wrong\n"
        "  spiked spec-docs                the reference of the experiment spec, as Markdown\n"
        "  spiked life-cycle               the states of an experiment, as Markdown\n"
        "  spiked failures                 what each failure of an attempt means, as Markdown\n"
        "  spiked permissions              who may do what, as Markdown\n"
        "  spiked --version, --help\n\nOptions of serve:\n",
        SPIKED_VERSION);
    serve_options_help();
    return 0;
}

static int run_serve(int argc, char **argv, struct err *e)
{
    struct serve_options o = { 0 };
    int rc = serve_options_load(&o, argc, argv, e);
    if (rc == 0) log_set_level((enum log_level)o.log_level);
    if (rc == 0) rc = serve(&o, e);
    serve_options_deinit(&o);
    return rc;
}

static int run_check(int argc, char **argv, struct err *e)
{
    struct serve_options o = { 0 };
    int rc = serve_options_load(&o, argc, argv, e);
    if (rc == 0 && o.tls_cert != NULL) rc = serve_tls_check(o.tls_cert, o.tls_key, e);
    if (rc == 0)
        (void)printf("ok: listen %s, state %s, files %s, data %s, %lld running at once\n", o.listen,
                     o.state_dir, o.files_dir, o.data_dir, (long long)o.max_running);
    serve_options_deinit(&o);
    return rc;
}

static int run_docs(int argc, char **argv, struct err *e)
{
    (void)argc;
    (void)argv;
    char *text = spec_docs();
    if (text == NULL) return err_set(e, ERR_NOMEM, "documentation");
    (void)fputs(text, stdout);
    mem_free(text);
    return 0;
}

static int run_life_cycle(int argc, char **argv, struct err *e)
{
    (void)argc;
    (void)argv;
    (void)e;
    state_docs_print(stdout);
    return 0;
}

static int run_failures(int argc, char **argv, struct err *e)
{
    (void)argc;
    (void)argv;
    (void)e;
    failure_docs_print(stdout);
    return 0;
}

static int run_permissions(int argc, char **argv, struct err *e)
{
    (void)argc;
    (void)argv;
    (void)e;
    permission_docs_print(stdout);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv, struct err *e);
} commands[] = { { "serve", run_serve },
                 { "check-config", run_check },
                 { "token", token_command },
                 { "backup", backup_command },
                 { "restore", restore_command },
                 { "spec-docs", run_docs },
                 { "life-cycle", run_life_cycle },
                 { "failures", run_failures },
                 { "permissions", run_permissions } };

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    struct err e = { 0 };
    if (sodium_init() < 0) return err_exit_code(ERR_INTERNAL);
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) return usage();
    if (strcmp(name, "--version") == 0)
        return printf("spiked %s (%s)\n", SPIKED_VERSION, SPIKED_BUILD) < 0;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        if (argc > 2 && strcmp(argv[2], "--help") == 0) return usage();
        if (commands[i].run(argc - 1, argv + 1, &e) == 0) return 0;
        (void)fprintf(stderr, "spiked %s: %s (%s)\n", name, e.text, err_name(e.code));
        return err_exit_code(e.code);
    }
    (void)fprintf(stderr, "spiked: unknown command '%s'; spiked --help lists them\n", name);
    return err_exit_code(ERR_INVALID);
}
