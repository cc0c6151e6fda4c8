/* golden_case: one golden case while it runs; shared by check_golden.c, which walks the index and
 * compares, and golden_*.c, which compute. One thread. */
#ifndef WORKER_GOLDEN_CASE_H
#define WORKER_GOLDEN_CASE_H

#include "common/json.h"
#include "worker/nets/net.h"
#include "worker/nets/safetensors.h"
#include "worker/train/check_golden.h"

struct golden_case {
    const struct check_golden_options *options;
    FILE *out;
    const char *name, *family, *op;
    const cJSON *hp, *expected; /* of the index */
    const struct safetensors *file;
    size_t failures, compared;  /* tensors */
    double worst;               /* largest error / limit of the case's tensors */
    struct kernel_trace *trace;
    const char *variant;        /* "bits", ... printed with a failure; NULL */
    char refused[160];          /* why the step mode of the run has no such case; "": it has */
};

/* NULL when the case has no such tensor. */
const struct safetensors_entry *golden_tensor(const struct golden_case *c, const char *role);
const float *golden_data(const struct golden_case *c, const char *role);
/* true when the index expects this tensor. */
bool golden_expects(const struct golden_case *c, const char *role);
/* Compares n values with the expected tensor `role` under its tolerance; nothing when the case does
 * not expect it. A failure is printed and counted. */
void golden_compare(struct golden_case *c, const char *role, const float *got, size_t n);
void golden_fail(struct golden_case *c, const char *tensor, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The case is none of this step mode, by design: neither passed nor failed. */
void golden_refuse(struct golden_case *c, const char *why);

/* Tensors of a case, [T, N, C, H, W], and the engine's (golden_tensors.c). Missing axes are 1;
 * [T, N, C, L] is one row of L pixels. */
struct golden_dims {
    size_t t, n, c, h, w;
};
struct golden_dims golden_dims_of(const struct safetensors_entry *e);
void golden_put_tensor(const struct tensor_desc *d, void *data, const float *from);
void golden_compare_tensor(struct golden_case *c, const char *role, const struct tensor_desc *d,
                           const void *data);
bool golden_only_spikes(const struct safetensors_entry *x);

/* Networks of cases (golden_net.c). A run of time-steps as they come is evaluation: forward only,
 * with running statistics. */
bool golden_streams(const struct golden_case *c);
struct net_options golden_net_options(const struct golden_case *c, const struct net_input *input);
/* NULL: it cannot be built, which is noted as a failure, or it cannot stream: refused. */
struct net *golden_net_start(struct golden_case *c, const struct spec_layer *layers,
                             size_t n_layers, const struct net_options *o);
/* Parameters by their names in the files, those of the net without `prefix`. all: none may be
 * missing there. */
void golden_put_params(struct golden_case *c, struct net *n, const char *prefix, bool all);
void golden_compare_weights(struct golden_case *c, const struct net *n, const char *prefix);
void golden_compare_gradients(struct golden_case *c, const struct net *n, const char *prefix);
/* The forward pass. probe: of node 0, with traces of all time-steps; NULL: none. */
void golden_forward(const struct golden_case *c, struct net *n, const struct net_step *s,
                    const struct step_probe *probe);
/* The backward pass, from up.y to grad.x; not of a stream. */
void golden_backward(struct golden_case *c, struct net *n, const struct net_step *s);
/* What was compared since `before` must be all that the case expects of such a run, but `absent`:
 * a tensor that the engine does not have must not count as right. */
void golden_check_compared(struct golden_case *c, size_t before, size_t absent);

typedef void golden_run_fn(struct golden_case *c);
golden_run_fn golden_run_neuron, golden_run_layer, golden_run_surrogate; /* golden_layers.c */
golden_run_fn golden_run_event;                                          /* golden_events.c */
golden_run_fn golden_run_block, golden_run_net;                          /* golden_blocks.c */
golden_run_fn golden_run_trajectory;                                     /* golden_trajectory.c */
golden_run_fn golden_run_loss, golden_run_optimizer, golden_run_schedule,
    golden_run_encoder; /* golden_train.c */

/* Shared by golden_layers.c and golden_trajectory.c: a neuron of the index (`name` is "IF", "PLIF",
 * ...) as the spec would have it. false when the engine has no such model or surrogate; that
 * failure is noted. */
bool golden_neuron_spec(struct golden_case *c, const char *name, struct spec_neuron *out);
/* Shared by golden_train.c and golden_trajectory.c; false: the engine has no such op. */
bool golden_loss_spec(const char *name, const cJSON *hp, struct spec_loss *out);
bool golden_optimizer_spec(const char *name, const cJSON *args, struct spec_optimizer *out);

#endif
