/* The option table: order of strength, types, refusals, help. */
#include "common/config.h"
#include "common/mem.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    char *state_dir;
    char *note;
    int64_t port;
    size_t cache;
    bool quiet;
    int on_exit;
};
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    { "state-dir", CONFIG_STRING, AT(state_dir), "data", 0, 0, NULL, "DIR", "where state lives" },
    { "note", CONFIG_STRING, AT(note), NULL, 0, 0, NULL, "TEXT", "free text" },
    { "port", CONFIG_INT, AT(port), "8080", 1, 65535, NULL, "PORT", "TCP port" },
    { "cache", CONFIG_SIZE, AT(cache), "1M", 0, 1 << 30, NULL, "BYTES", "cache size" },
    { "quiet", CONFIG_BOOL, AT(quiet), "false", 0, 0, NULL, NULL, "say less" },
    { "on-exit", CONFIG_CHOICE, AT(on_exit), "keep", 0, 0, "keep|stop", NULL, "what runs on" },
};
#define N_ROWS (sizeof rows / sizeof rows[0])

static struct options o;
static struct err fault;
static int n_args;
static char *args[16];

/* Splits `line` at blanks into argv and loads. */
static int load(const char *file, const char *line)
{
    static char text[512];
    config_deinit(rows, N_ROWS, &o);
    o = (struct options){ 0 };
    fault = (struct err){ 0 };
    (void)snprintf(text, sizeof text, "spiked %s", line);
    n_args = 0;
    char *rest = NULL;
    for (char *p = strtok_r(text, " ", &rest); p != NULL; p = strtok_r(NULL, " ", &rest))
        args[n_args++] = p;
    args[n_args] = NULL;
    return config_load(rows, N_ROWS, "SPIKED_TEST_UNIT", file, &n_args, args, &o, &fault);
}

static void refused(const char *line, const char *part)
{
    cr_expect_eq(load(NULL, line), ERR_INVALID, "%s", line);
    cr_expect_not_null(strstr(fault.text, part), "%s: %s", line, fault.text);
}

static void leave(void)
{
    config_deinit(rows, N_ROWS, &o);
}
TestSuite(config, .fini = leave, .timeout = 5);

static const char *file_of(const char *text)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "/tmp/spiked-config-XXXXXX");
    const int fd = mkstemp(path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    return path;
}

/* Goal: without anything else the defaults hold; a row without one stays empty. */
Test(config, defaults_fill_the_options)
{
    cr_assert_eq(load(NULL, ""), 0, "%s", fault.text);
    cr_expect_str_eq(o.state_dir, "data");
    cr_expect_null(o.note);
    cr_expect_eq(o.port, 8080);
    cr_expect_eq(o.cache, 1 << 20);
    cr_expect_not(o.quiet);
    cr_expect_eq(o.on_exit, 0);
}

/* Goal: a flag beats the environment, which beats the file, which beats the default. */
Test(config, flag_beats_environment_beats_file)
{
    const char *path = file_of("# comment\n\nstate_dir = from file # tail\n port=1\r\n"
                               "on-exit = stop\ncache = 2K\n");
    (void)setenv("SPIKED_TEST_UNIT_PORT", "2", 1);
    (void)setenv("SPIKED_TEST_UNIT_ON_EXIT", "keep", 1);
    cr_assert_eq(load(path, "--port 3"), 0, "%s", fault.text);
    cr_expect_eq(o.port, 3);
    cr_expect_eq(o.on_exit, 0);
    cr_expect_str_eq(o.state_dir, "from file");
    cr_expect_eq(o.cache, 2048);
    cr_assert_eq(load(path, ""), 0);
    cr_expect_eq(o.port, 2);
    (void)unsetenv("SPIKED_TEST_UNIT_PORT");
    (void)unsetenv("SPIKED_TEST_UNIT_ON_EXIT");
    cr_assert_eq(load(path, ""), 0);
    cr_expect_eq(o.port, 1);
    cr_expect_eq(o.on_exit, 1);
    (void)unlink(path);
}

/* Goal: flags take both spellings, booleans need no value, positional arguments stay. */
Test(config, positional_arguments_stay)
{
    cr_assert_eq(load(NULL, "serve --port=5 --quiet a --note x=y b -- --port c"), 0, "%s",
                 fault.text);
    cr_expect_eq(o.port, 5);
    cr_expect(o.quiet);
    cr_expect_str_eq(o.note, "x=y");
    static const char *const kept[] = { "spiked", "serve", "a", "b", "--port", "c" };
    cr_assert_eq(n_args, 6);
    for (int i = 0; i < 6; i++) cr_expect_str_eq(args[i], kept[i]);
    cr_expect_null(args[6]);
    cr_assert_eq(load(NULL, "--quiet=false"), 0);
    cr_expect_not(o.quiet);
}

/* Goal: a size may end in K, M or G and keeps to its bounds. */
Test(config, sizes_have_units)
{
    cr_assert_eq(load(NULL, "--cache 3K"), 0);
    cr_expect_eq(o.cache, 3072);
    cr_assert_eq(load(NULL, "--cache 1G"), 0);
    cr_expect_eq(o.cache, 1 << 30);
    static const char *const bad[] = {
        "2G", "1T", "K", "-1", "1KK", "99999999999999999999", "9223372036854775807G"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "--cache=%s", bad[i]);
        refused(line, bad[i]);
    }
}

/* Goal: a wrong value is refused with its place, the value and what is allowed. */
Test(config, wrong_values_are_named)
{
    refused("--port 0", "from 1 to 65535");
    refused("--port 65536", "'65536'");
    refused("--port 80x", "--port");
    refused("--port=", "from 1 to 65535");
    refused("--quiet=yes", "true or false");
    refused("--on-exit drop", "keep|stop");
    refused("--on-exit kee", "keep|stop");
    refused("--port", "needs a value");
    (void)setenv("SPIKED_TEST_UNIT_PORT", "many", 1);
    refused("", "SPIKED_TEST_UNIT_PORT");
    (void)unsetenv("SPIKED_TEST_UNIT_PORT");
}

/* Goal: unknown flags are refused with the nearest name, in both spellings. */
Test(config, unknown_flags_suggest_the_nearest)
{
    refused("--state-dri x", "did you mean 'state-dir'?");
    refused("--state-dri=some/long/folder", "did you mean 'state-dir'?");
    refused("--wholly-other", "unknown option 'wholly-other'");
}

/* Goal: a file's faults are told with path and line; a missing file is ERR_IO. */
Test(config, file_faults_have_lines)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        { "\n\nport = x\n", "line 3" },
        { "port 80\n", "key = value" },
        { "ports = 80\n", "did you mean 'port'?" },
        { "= 80\n", "line 1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = file_of(cases[i].text);
        cr_expect_eq(load(path, ""), ERR_INVALID);
        cr_expect_not_null(strstr(fault.text, cases[i].part), "%s", fault.text);
        cr_expect_not_null(strstr(fault.text, path), "%s", fault.text);
        (void)unlink(path);
    }
    cr_expect_eq(load("/nonexistent/spiked.conf", ""), ERR_IO);
}

/* Goal: help has a line for each row with its value and its default. */
Test(config, help_lists_every_row)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    config_help(rows, N_ROWS, out);
    (void)fclose(out);
    cr_expect_not_null(strstr(text, "--state-dir DIR"));
    cr_expect_not_null(strstr(text, "(default 8080)"));
    cr_expect_not_null(strstr(text, "--on-exit keep|stop"));
    size_t lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++) lines++;
    cr_expect_eq(lines, N_ROWS);
    free(text);
}

/* Goal: a failed allocation is ERR_NOMEM and leaks nothing, whichever it is. */
Test(config, memory_faults_are_reported)
{
    bool failed = true;
    size_t n = 1;
    for (; failed && n < 20; n++) {
        mem_fail_after(n);
        const int rc = load(NULL, "--note text");
        mem_fail_after(0);
        failed = rc != 0;
        cr_expect(rc == 0 || rc == ERR_NOMEM);
    }
    cr_expect_gt(n, 3);
    cr_expect_lt(n, 20);
    config_deinit(rows, N_ROWS, &o);
    config_deinit(rows, N_ROWS, &o);
}
