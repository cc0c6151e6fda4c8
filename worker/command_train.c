/* command_train: `train` and `eval`, without a daemon. See commands.h. */
#include "common/log.h"
#include "common/config.h"
#include "common/mem.h"
#include "worker/commands.h"
#include "worker/data/npy_file.h"
#include "worker/monitor/file_output.h"
#include "worker/monitor/monitor.h"
#include "worker/train/summary.h"
#include "worker/train/trainer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct train_options {
    char *out, *data_dir, *events, *weights, *step_mode, *predictions;
    int64_t threads, max_steps;
    bool resume;
};
#define AT(member) offsetof(struct train_options, member)
static const struct config_row train_rows[] = {
    { "out", CONFIG_STRING, AT(out), .metavar = "DIR", .help = "folder for the results" },
    { "data-dir", CONFIG_STRING, AT(data_dir), .metavar = "DIR", .help = "folder of datasets" },
    { "threads", CONFIG_INT, AT(threads), "0", 0, 1024, .metavar = "N", .help = "0 = the spec's" },
    { "max-steps", CONFIG_INT, AT(max_steps), "0", 0, INT64_MAX, .metavar = "N",
      .help = "stop early" },
    { "events", CONFIG_STRING, AT(events), .metavar = "FILE", .help = "points as they come" },
    COMMAND_STEP_MODE(AT(step_mode)),
    { "resume", CONFIG_BOOL, AT(resume), "false", .help = "go on from the newest checkpoint" },
    { "weights", CONFIG_STRING, AT(weights), .metavar = "FILE",
      .help = "safetensors file, instead of random first weights" },
};
static const struct config_row eval_rows[] = {
    { "weights", CONFIG_STRING, AT(weights), .metavar = "FILE", .help = "safetensors file" },
    { "data-dir", CONFIG_STRING, AT(data_dir), .metavar = "DIR", .help = "folder of datasets" },
    { "threads", CONFIG_INT, AT(threads), "0", 0, 1024, .metavar = "N", .help = "0 = the spec's" },
    { "predictions", CONFIG_STRING, AT(predictions), .metavar = "FILE.npy",
      .help = "the readout of every test sample" },
    COMMAND_STEP_MODE(AT(step_mode)),
};
#define LENGTH(a) (sizeof(a) / sizeof(a)[0])

static enum experiment_desired stop_on_signal(void *ctx)
{
    (void)ctx;
    return command_stop_requested() != 0 ? DESIRED_PAUSE : DESIRED_RUN;
}

static int write_summary(const struct trainer *t, const struct trainer_result *r, const char *dir,
                         struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/summary.json", dir);
    cJSON *json = summary_json(t, r);
    char *text = json != NULL ? json_print_pretty(json, NULL) : NULL;
    cJSON_Delete(json);
    if (text == NULL) return err_set(e, ERR_NOMEM, "summary");
    FILE *f = fopen(path, "we");
    int rc = 0;
    if (f == NULL || fprintf(f, "%s\n", text) < 0) rc = err_errno(e, errno, "%.150s", path);
    if (f != NULL && fclose(f) != 0 && rc == 0) rc = err_errno(e, errno, "%.150s", path);
    if (rc == 0) (void)printf("%s\n", text);
    mem_free(text);
    return rc;
}

/* The newest checkpoint, or else the weights of a file, or else the initial ones. */
static int begin(struct trainer *t, const struct train_options *o, struct err *e)
{
    bool resumed = false;
    if (t->spec->train.from.experiment != 0 && o->weights == NULL)
        return err_set(e, ERR_SPEC,
                       "train.from names an experiment of a daemon: give its file as --weights");
    int rc = o->resume ? trainer_resume(t, &resumed, e)
                       : checkpoint_refuse_foreign(o->out, t->at.result_hash, e);
    if (rc == 0 && !resumed && o->weights != NULL) rc = weights_load(o->weights, t->net, e);
    return rc;
}

/* Trainer, monitors and files of one run; t is ready, o.output is still empty. */
static int run(struct trainer *t, const struct train_options *o, struct err *e)
{
    struct file_output files = { 0 };
    struct monitors *monitors = NULL;
    struct trainer_result r;
    int rc = begin(t, o, e);
    if (rc == 0) rc = file_output_open(&files, o->out, o->events, t->at.step, e);
    if (rc == 0) rc = monitors_create(&monitors, t->spec, e);
    if (rc == 0) {
        t->o.output = file_output_of(&files);
        t->o.output.desired = stop_on_signal;
        t->o.observer = monitors_observer(monitors);
        rc = trainer_run(t, &r, e);
    }
    if (rc == 0) rc = t->o.output.sync(t->o.output.ctx, e);
    file_output_close(&files);
    if (rc == 0) rc = write_summary(t, &r, o->out, e);
    if (rc == 0 && r.ended != DESIRED_RUN)
        rc = err_set(e, ERR_STOPPED, "stopped at step %llu; go on with --resume",
                     (unsigned long long)r.step);
    monitors_destroy(monitors);
    return rc;
}

int command_train(int argc, char **argv, struct err *e)
{
    struct train_options o = { 0 };
    struct spec spec = { 0 };
    struct trainer t = { 0 };
    log_set_level(LOG_WARN); /* the progress line says the rest */
    int rc = config_load(train_rows, LENGTH(train_rows), NULL, NULL, &argc, argv, &o, e);
    if (rc == 0 && (argc != 2 || o.out == NULL))
        rc = err_set(e, ERR_INVALID, "usage: train SPEC.json --out DIR");
    if (rc == 0) rc = command_load_spec(argv[1], &spec, e);
    if (rc == 0) rc = command_step_mode(o.step_mode, &spec, e);
    if (rc == 0 && mkdir(o.out, 0777) != 0 && errno != EEXIST)
        rc = err_errno(e, errno, "%.150s", o.out);
    if (rc == 0) {
        command_catch_signals();
        const struct trainer_options to = { .data_dir = o.data_dir, .dir = o.out,
                                            .threads = (size_t)o.threads,
                                            .max_steps = (uint64_t)o.max_steps, .training = true };
        rc = trainer_init(&t, &spec, &to, e);
    }
    if (rc == 0) rc = run(&t, &o, e);
    trainer_deinit(&t);
    spec_deinit(&spec);
    config_deinit(train_rows, LENGTH(train_rows), &o);
    return rc;
}

static int print_evaluation(const struct trainer *t, const struct evaluation *v, struct err *e)
{
    cJSON *json = summary_evaluation(t, v);
    char *text = json != NULL ? json_print_pretty(json, NULL) : NULL;
    cJSON_Delete(json);
    if (text == NULL) return err_set(e, ERR_NOMEM, "evaluation");
    (void)printf("%s\n", text);
    mem_free(text);
    return 0;
}

/* predictions: a file to write, or NULL. */
static int evaluate(struct trainer *t, const char *predictions, struct err *e)
{
    struct activity activity;
    if (activity_init(&activity, t->net, e) != 0) return (int)e->code;
    const size_t samples = t->test.count, classes = t->data->classes;
    int rc = 0;
    t->activity = &activity;
    if (predictions != NULL) {
        t->predictions = mem_calloc(samples * classes + 1, sizeof t->predictions[0]);
        if (t->predictions == NULL) rc = err_set(e, ERR_NOMEM, "predictions");
    }
    if (rc == 0) {
        const struct evaluation v = trainer_evaluate(t, &t->test);
        if (predictions != NULL) rc = npy_write(predictions, samples, classes, t->predictions, e);
        if (rc == 0) rc = print_evaluation(t, &v, e);
    }
    mem_free(t->predictions);
    t->predictions = NULL;
    t->activity = NULL;
    activity_deinit(&activity);
    return rc;
}

int command_eval(int argc, char **argv, struct err *e)
{
    struct train_options o = { 0 };
    struct spec spec = { 0 };
    struct trainer t = { 0 };
    int rc = config_load(eval_rows, LENGTH(eval_rows), NULL, NULL, &argc, argv, &o, e);
    if (rc == 0 && (argc != 2 || o.weights == NULL))
        rc = err_set(e, ERR_INVALID, "usage: eval SPEC.json --weights FILE");
    if (rc == 0) rc = command_load_spec(argv[1], &spec, e);
    if (rc == 0) rc = command_step_mode(o.step_mode, &spec, e);
    if (rc == 0) {
        const struct trainer_options to = { .data_dir = o.data_dir, .threads = (size_t)o.threads };
        rc = trainer_init(&t, &spec, &to, e);
    }
    if (rc == 0) rc = weights_load(o.weights, t.net, e);
    if (rc == 0 && net_streams(t.net)) rc = net_stream_check(t.net, e);
    if (rc == 0) rc = evaluate(&t, o.predictions, e);
    trainer_deinit(&t);
    spec_deinit(&spec);
    config_deinit(eval_rows, LENGTH(eval_rows), &o);
    return rc;
}
