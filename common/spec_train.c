/* spec_train: every field below train, in one place. See spec_table.h. */
#include "common/spec_table.h"

#define LENGTH(a) (sizeof(a) / sizeof(a)[0])
#define AT(type, member) offsetof(struct type, member)
#define UNLIMITED 9007199254740992.0 /* 2^53: what JSON holds exactly */

#define O(member) AT(spec_optimizer, member)
#define WEIGHT_DECAY(fallback, text)                                                              \
    { "weight_decay", FIELD_NUMBER, SPEC_RESULT, O(weight_decay), fallback, 0, 1, .meaning = text }
#define ADDED_DECAY WEIGHT_DECAY(0, "added to the gradient, times the weight")
#define EPS                                                                                       \
    { "eps", FIELD_NUMBER, SPEC_RESULT, O(eps), 1e-8, 1e-30, 1,                                   \
      .meaning = "added to the root; not below what float holds" }
#define ADAM_FIELDS                                                                               \
    { "betas", FIELD_NUMBERS, SPEC_RESULT, O(beta1), 0, 0, 0.9999999, .size = 2,                  \
      .choices = "0.9|0.999", .meaning = "decay of the first and second moment" },                \
    EPS,                                                                                          \
    { "amsgrad", FIELD_BOOL, SPEC_RESULT, O(amsgrad), 0, .newer = true,                           \
      .meaning = "divide by the root of the largest second moment so far" }
static const struct spec_field sgd_fields[] = {
    ADDED_DECAY,
    { "momentum", FIELD_NUMBER, SPEC_RESULT, O(momentum), 0, 0, 1, .meaning = "of the gradient" },
    { "dampening", FIELD_NUMBER, SPEC_RESULT, O(dampening), 0, 0, 1,
      .meaning = "of the new gradient" },
    { "nesterov", FIELD_BOOL, SPEC_RESULT, O(nesterov), 0, .meaning = "look ahead" },
};
static const struct spec_field adam_fields[] = { ADDED_DECAY, ADAM_FIELDS };
static const struct spec_field adamw_fields[] = {
    WEIGHT_DECAY(0.01, "the weight loses lr * weight_decay of itself before each update"),
    ADAM_FIELDS,
};
static const struct spec_field rmsprop_fields[] = {
    ADDED_DECAY,
    { "alpha", FIELD_NUMBER, SPEC_RESULT, O(alpha), 0.99, 0, 0.9999999,
      .meaning = "decay of the mean square" },
    EPS,
    { "momentum", FIELD_NUMBER, SPEC_RESULT, O(momentum), 0, 0, 1,
      .meaning = "of the scaled gradient" },
    { "centered", FIELD_BOOL, SPEC_RESULT, O(centered), 0,
      .meaning = "divide by the deviation from the mean gradient" },
};
static const struct spec_field optimizer_fields[] = {
    { "lr", FIELD_NUMBER, SPEC_RESULT, O(lr), 1e-3, 0, 1000, true, .meaning = "learning rate" },
};
static const struct spec_variant optimizer_variants[] = {
    [SPEC_SGD] = { "sgd", sgd_fields, LENGTH(sgd_fields), "stochastic gradient descent" },
    [SPEC_ADAM] = { "adam", adam_fields, LENGTH(adam_fields), "Adam" },
    [SPEC_ADAMW] = { "adamw", adamw_fields, LENGTH(adamw_fields),
                     "Adam with decoupled weight decay" },
    [SPEC_RMSPROP] = { "rmsprop", rmsprop_fields, LENGTH(rmsprop_fields), "RMSprop" },
};
static const struct spec_object optimizer_object = {
    "train.optimizer", "type", O(type), SPEC_ADAM, optimizer_variants, LENGTH(optimizer_variants),
    optimizer_fields, LENGTH(optimizer_fields)
};
#define C(member) AT(spec_schedule, member)
#define PLACE_FIELDS                                                                              \
    { "unit", FIELD_CHOICE, SPEC_RESULT, C(unit), SPEC_UNIT_EPOCH, .choices = "epoch|step",       \
      .newer = true, .meaning = "what all counts here count: epochs, or updates" },               \
    { "warmup", FIELD_INT, SPEC_RESULT, C(warmup), 0, 0, 1e9, .newer = true,                      \
      .meaning = "units of linear warm-up; the schedule begins after them" },                     \
    { "warmup_factor", FIELD_NUMBER, SPEC_RESULT, C(warmup_factor), 0.01, 0, 1, .newer = true,    \
      .meaning = "share of the rate that warm-up begins with" }
static const struct spec_field constant_fields[] = { PLACE_FIELDS };
static const struct spec_field cosine_fields[] = {
    { "t_max", FIELD_INT, SPEC_RESULT, C(t_max), 0, 0, 1e9,
      .meaning = "units to the lowest rate; 0 = what is left of the run after warm-up" },
    { "eta_min", FIELD_NUMBER, SPEC_RESULT, C(eta_min), 0, 0, 1000,
      .meaning = "lowest rate" },
    PLACE_FIELDS,
};
static const struct spec_field step_fields[] = {
    { "step_size", FIELD_INT, SPEC_RESULT, C(step_size), .min = 1, .max = 1e9, .required = true,
      .meaning = "units between drops" },
    { "gamma", FIELD_NUMBER, SPEC_RESULT, C(gamma), 0.1, 0, 1, true,
      .meaning = "factor of a drop" },
    PLACE_FIELDS,
};
static const struct spec_field multi_step_fields[] = {
    { "milestones", FIELD_NUMBERS, SPEC_RESULT, C(milestones), 0, 0, 1e9, .required = true,
      .size = SPEC_MILESTONES_MAX, .count_at = C(n_milestones),
      .meaning = "units after which the rate drops, ascending; a number twice drops it twice" },
    { "gamma", FIELD_NUMBER, SPEC_RESULT, C(gamma), 0.1, 0, 1, true,
      .meaning = "factor of a drop" },
    PLACE_FIELDS,
};
static const struct spec_field exponential_fields[] = {
    { "gamma", FIELD_NUMBER, SPEC_RESULT, C(gamma), .max = 1, .min_open = true, .required = true,
      .meaning = "factor of each unit" },
    PLACE_FIELDS,
};
static const struct spec_field linear_schedule_fields[] = {
    { "total", FIELD_INT, SPEC_RESULT, C(total), .min = 1, .max = 1e9, .required = true,
      .meaning = "units of the way; then the rate stays" },
    { "start_factor", FIELD_NUMBER, SPEC_RESULT, C(start_factor), 1, 0, 1,
      .meaning = "share of lr at the start" },
    { "end_factor", FIELD_NUMBER, SPEC_RESULT, C(end_factor), 0, 0, 1,
      .meaning = "share of lr at the end" },
    PLACE_FIELDS,
};
static const struct spec_field one_cycle_fields[] = {
    { "pct_start", FIELD_NUMBER, SPEC_RESULT, C(pct_start), 0.3, 0, 1,
      .meaning = "share of the updates in which the rate rises" },
    { "div_factor", FIELD_NUMBER, SPEC_RESULT, C(div_factor), 25, 1, 1e9,
      .meaning = "the first rate is lr / div_factor" },
    { "final_div_factor", FIELD_NUMBER, SPEC_RESULT, C(final_div_factor), 1e4, 1, 1e12,
      .meaning = "the last rate is the first / final_div_factor" },
    { "anneal", FIELD_CHOICE, SPEC_RESULT, C(anneal), SPEC_ANNEAL_COSINE,
      .choices = "cosine|linear", .meaning = "shape of the way" },
};
static const struct spec_variant schedule_variants[] = {
    [SPEC_SCHEDULE_CONSTANT] = { "constant", constant_fields, LENGTH(constant_fields),
                                 "always lr" },
    [SPEC_SCHEDULE_COSINE] = { "cosine", cosine_fields, LENGTH(cosine_fields),
                               "cosine annealing; the rate rises again after t_max" },
    [SPEC_SCHEDULE_STEP] = { "step", step_fields, LENGTH(step_fields), "drops by a factor" },
    [SPEC_SCHEDULE_MULTI_STEP] = { "multi_step", multi_step_fields, LENGTH(multi_step_fields),
                                   "drops by a factor at given places" },
    [SPEC_SCHEDULE_EXPONENTIAL] = { "exponential", exponential_fields,
                                    LENGTH(exponential_fields), "shrinks by a factor each unit" },
    [SPEC_SCHEDULE_LINEAR] = { "linear", linear_schedule_fields, LENGTH(linear_schedule_fields),
                               "a straight line, then constant" },
    [SPEC_SCHEDULE_ONE_CYCLE] = { "one_cycle", one_cycle_fields, LENGTH(one_cycle_fields),
                                  "up to lr and down to almost nothing, by updates" },
};
static const struct spec_object schedule_object = {
    "train.schedule", "type", AT(spec_schedule, type), SPEC_SCHEDULE_CONSTANT, schedule_variants,
    LENGTH(schedule_variants), NULL, 0
};
#define PER_STEP                                                                                  \
    { "per_step", FIELD_BOOL, SPEC_RESULT, AT(spec_loss, per_step), 0, .newer = true,             \
      .meaning = "mean of the losses of all time-steps, instead of the loss of the readout" }
static const struct spec_field mse_fields[] = { PER_STEP };
static const struct spec_field cross_entropy_fields[] = {
    { "label_smoothing", FIELD_NUMBER, SPEC_RESULT, AT(spec_loss, label_smoothing), 0, 0, 0.999,
      .meaning = "share of the target spread over all classes" },
    PER_STEP,
};
static const struct spec_field tet_fields[] = {
    { "lambda", FIELD_NUMBER, SPEC_RESULT, AT(spec_loss, lambda), 0.05, 0, 1,
      .meaning = "share of the squared distance to `means`" },
    { "means", FIELD_NUMBER, SPEC_RESULT, AT(spec_loss, means), 1, -1e6, 1e6,
      .meaning = "what every output is drawn to" },
};
static const struct spec_variant loss_variants[] = {
    [SPEC_LOSS_MSE] = { "mse", mse_fields, LENGTH(mse_fields),
                        "mean squared error to the one-hot target" },
    [SPEC_LOSS_CROSS_ENTROPY] = { "cross_entropy", cross_entropy_fields,
                                  LENGTH(cross_entropy_fields), "cross entropy" },
    [SPEC_LOSS_TET] = { "tet", tet_fields, LENGTH(tet_fields),
                        "temporal efficient training: (1 - lambda) * the mean cross entropy of "
                        "all time-steps + lambda * the mean of (output - means)^2" },
};
static const struct spec_object loss_object = {
    "train.loss", "type", AT(spec_loss, type), SPEC_LOSS_MSE, loss_variants, LENGTH(loss_variants),
    NULL, 0
};
#define G(member) AT(spec_parameter_group, member)
static const struct spec_field group_fields[] = {
    { "match", FIELD_STRING, SPEC_RESULT, G(match), .size = SPEC_PATH_MAX, .required = true,
      .meaning = "glob over parameter names, <path>.weight" },
    { "lr", FIELD_NUMBER, SPEC_RESULT, G(lr), -1, 0, 1000, .optional = true,
      .meaning = "instead of the optimizer's; the schedule goes on from it" },
    { "weight_decay", FIELD_NUMBER, SPEC_RESULT, G(weight_decay), -1, 0, 1, .optional = true,
      .meaning = "instead of the optimizer's; 0 exempts" },
};
static const struct spec_object group_object = {
    "train.parameter_groups", NULL, 0, 0, NULL, 0, group_fields, LENGTH(group_fields)
};
#define E(member) AT(spec_early_stop, member)
static const struct spec_field early_stop_fields[] = {
    { "patience", FIELD_INT, SPEC_RESULT, E(patience), 0, 0, 1e6, .newer = true,
      .meaning = "validations after epochs without gain that end the run; 0 = never" },
    { "metric", FIELD_CHOICE, SPEC_RESULT, E(metric), SPEC_STOP_ACCURACY,
      .choices = "accuracy|loss", .newer = true, .meaning = "of the validation split" },
    { "min_delta", FIELD_NUMBER, SPEC_RESULT, E(min_delta), 0, 0, 1e9, .newer = true,
      .meaning = "what is no more than this is no gain" },
};
static const struct spec_object early_stop_object = {
    "train.early_stop", NULL, 0, 0, NULL, 0, early_stop_fields, LENGTH(early_stop_fields)
};
static const struct spec_field ema_fields[] = {
    { "decay", FIELD_NUMBER, SPEC_RESULT, AT(spec_train, ema_decay), 0, 0, 0.9999999,
      .newer = true,
      .meaning = "average = decay * average + (1 - decay) * weight after each update; the first "
                 "one begins it; 0 = none" },
};
static const struct spec_object ema_object = {
    "train.ema", NULL, 0, 0, NULL, 0, ema_fields, LENGTH(ema_fields)
};
#define F(member) AT(spec_from, member)
static const struct spec_field from_fields[] = {
    { "experiment", FIELD_INT, SPEC_RESULT, F(experiment), 0, 0, UNLIMITED, .newer = true,
      .meaning = "number of an experiment of this daemon with the same parameters; 0 = none" },
    { "checkpoint", FIELD_CHOICE, SPEC_RESULT, F(checkpoint), SPEC_START_BEST,
      .choices = "best|last", .newer = true,
      .meaning = "its best weights on validation, or the newest; as they are at submission" },
};
static const struct spec_object from_object = {
    "train.from", NULL, 0, 0, NULL, 0, from_fields, LENGTH(from_fields)
};
#define T(member) AT(spec_train, member)
static const struct spec_field train_fields[] = {
    { "epochs", FIELD_INT, SPEC_RESULT, T(epochs), 10, 1, 100000,
      .meaning = "passes over the data" },
    { "batch_size", FIELD_INT, SPEC_RESULT, T(batch_size), 64, 1, 65536,
      .meaning = "samples of a pass; an update has `accumulate` passes" },
    { "optimizer", FIELD_OBJECT, SPEC_RESULT, T(optimizer), .object = &optimizer_object,
      .meaning = "update rule" },
    { "schedule", FIELD_OBJECT, SPEC_RESULT, T(schedule), .object = &schedule_object,
      .meaning = "learning rate over the run" },
    { "loss", FIELD_OBJECT, SPEC_RESULT, T(loss), .object = &loss_object,
      .meaning = "what is made small" },
    { "readout", FIELD_CHOICE, SPEC_RESULT, T(readout), SPEC_READOUT_MEAN,
      .choices = "mean|last|max_membrane|max_abs_membrane",
      .meaning = "output of the network: mean over time, that of the last time-step, the largest "
                 "over time, or that of largest magnitude with its sign; the last two are of "
                 "potentials: the last layer must not be a neuron that spikes" },
    { "shards", FIELD_INT, SPEC_RESULT, T(shards), 1, 1, 1024,
      .meaning = "parts of a batch summed as a tree; a power of two" },
    { "numerics", FIELD_CHOICE, SPEC_RESULT, T(numerics), SPEC_NUMERICS_FAST,
      .choices = "fast|exact",
      .meaning = "exact: same bits on every CPU, fast: on one CPU type; today both are exact" },
    { "step_mode", FIELD_CHOICE, SPEC_EXECUTION, T(step_mode), SPEC_STEP_MULTI,
      .choices = "multi|single|chunk",
      .meaning = "time-steps of one call of a stateless layer or a serial neuron: all, one or "
                 "`chunk_steps`; in training a layer still finishes all of them before the next "
                 "begins, `eval` walks time first in the memory of one call. Same bits; multi is "
                 "the fastest" },
    { "chunk_steps", FIELD_INT, SPEC_EXECUTION, T(chunk_steps), 4, 1, SPEC_TIME_STEPS_MAX,
      .meaning = "time-steps of a call in step_mode chunk" },
    { "recompute", FIELD_CHOICE, SPEC_EXECUTION, T(recompute), SPEC_RECOMPUTE_OFF,
      .choices = "off|auto|least_memory",
      .meaning =
          "values that the backward pass computes again instead of keeping them: none; as few"
          " multiplications' worth as resources.memory_mib makes necessary; whatever needs"
          " the least memory. The same bits" },
    { "max_steps", FIELD_INT, SPEC_RESULT, T(max_steps), 0, 0, UNLIMITED,
      .meaning = "stop after so many updates; 0 = no limit" },
    { "grad_clip", FIELD_NUMBER, SPEC_RESULT, T(grad_clip), 0, 0, 1e9,
      .meaning = "largest 2-norm of all gradients; 0 = off" },
    { "drop_last", FIELD_BOOL, SPEC_RESULT, T(drop_last), 0,
      .meaning = "leave out a partial update at the end of an epoch" },
    { "eval_every", FIELD_INT, SPEC_RESULT, T(eval_every), 1, 1, 100000,
      .meaning = "epochs between validations" },
    { "accumulate", FIELD_INT, SPEC_RESULT, T(accumulate), 1, 1, 65536, .newer = true,
      .meaning = "batches an update; its gradient is that of the mean loss of all their samples, "
                 "added up batch by batch; batch normalisation sees one batch" },
    { "parameter_groups", FIELD_OBJECTS, SPEC_RESULT, T(groups), .max = SPEC_GROUPS_MAX,
      .size = sizeof(struct spec_parameter_group), .count_at = T(n_groups), .object = &group_object,
      .newer = true,
      .meaning = "parameters with a rate or decay of their own; the first that matches counts" },
    { "freeze", FIELD_STRINGS, SPEC_RESULT, T(freeze), .max = SPEC_GROUPS_MAX,
      .size = SPEC_PATH_MAX, .count_at = T(n_freeze), .newer = true,
      .meaning = "globs over names of parameters that stay as they are; running statistics go on" },
    { "early_stop", FIELD_OBJECT, SPEC_RESULT, T(early_stop), .object = &early_stop_object,
      .newer = true, .meaning = "end when validation gains nothing more" },
    { "ema", FIELD_OBJECT, SPEC_RESULT, 0, .object = &ema_object, .newer = true,
      .meaning = "a running average of weights and running statistics, which validation, test and "
                 "the written weights are of; training goes on from the weights themselves" },
    { "from", FIELD_OBJECT, SPEC_RESULT, T(from), .object = &from_object, .newer = true,
      .optional = true,
      .meaning = "weights and running statistics to begin with; steps, optimiser and schedule "
                 "begin anew" },
};
const struct spec_object spec_object_train = {
    "train", NULL, 0, 0, NULL, 0, train_fields, LENGTH(train_fields)
};
