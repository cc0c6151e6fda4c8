/* Neurons that fire counts or draw their spikes, with every kind of layer behind them: gradients of
 * the twin against finite differences, the engine against the twin. */
#include "tests/unit/twin/twin_fixture.h"

#define COUNTS                                                                                   \
    "'neuron':{'model':'lif','v_threshold':0.3,'v_reset':null,'detach_reset':false,'surrogate':" \
    "'multi_level_spike_count'},"
#define DRAWN \
    "'neuron':{'model':'plif','v_threshold':0.1,'detach_reset':false,'surrogate':'poisson_pass'},"
#define STEM                                                                       \
    "{'type':'conv2d','out_channels':4,'kernel_size':3,'padding':1,'bias':false}," \
    "{'type':'batch_norm'},{'type':'neuron'},"
#define BODY                                                                  \
    "'body':[{'type':'conv2d','out_channels':4,'kernel_size':3,'padding':1}," \
    "{'type':'batch_norm'},{'type':'neuron'}]}"
#define CONNECT(connect) STEM "{'type':'residual','connect':'" connect "'," BODY
#define END ",{'type':'flatten'},{'type':'linear','out_features':3}]"

/* What follows the neurons. */
#define CONVOLUTIONS                                                                    \
    "'layers':[" STEM "{'type':'conv2d','out_channels':5,'kernel_size':3,'padding':1}," \
    "{'type':'neuron'},{'type':'conv2d','out_channels':4,'kernel_size':2,'stride':2}" END
#define POOLS                                                               \
    "'layers':[" STEM "{'type':'max_pool2d','kernel_size':2,'stride':1},"   \
    "{'type':'avg_pool2d','kernel_size':2,'stride':1},"                     \
    "{'type':'conv2d','out_channels':4,'kernel_size':2},{'type':'neuron'}," \
    "{'type':'dropout','p':0.3},{'type':'adaptive_avg_pool2d','output_size':1}" END
#define LINEARS                                                                                    \
    "'layers':[{'type':'flatten'},{'type':'linear','out_features':9},{'type':'neuron'},"           \
    "{'type':'recurrent','neuron':{'scope':'neuron','learn_threshold':true,'refractory_steps':1}}" \
    ",{'type':'linear','out_features':6},{'type':'neuron'},{'type':'voting','size':2}]"

static const char *const counting[] = {
    COUNTS CONVOLUTIONS,
    COUNTS POOLS,
    COUNTS LINEARS,
    COUNTS "'layers':[" CONNECT("add") END,
    COUNTS "'layers':[" CONNECT("and") END,
    COUNTS "'layers':[" CONNECT("iand") END,
};
static const char *const drawing[] = {
    DRAWN CONVOLUTIONS,
    DRAWN POOLS,
    DRAWN LINEARS,
    DRAWN "'layers':[" CONNECT("add") END,
    DRAWN "'layers':[" CONNECT("iand") END,
};
enum {
    COUNTING = sizeof counting / sizeof counting[0],
    DRAWING = sizeof drawing / sizeof drawing[0]
};

static struct twin_case case_of(const char *network, size_t i)
{
    return (struct twin_case){ .name = network,
                               .network = network,
                               .in = { 4, 2, 2, 5, 6 },
                               .input = i % 2 == 0 ? TWIN_FLOATS : TWIN_REPEAT,
                               .seed = 70 + i };
}

/* Goal: with the primitive, min(max(x, 0), D) or x, the gradients of whole networks are slopes. */
Test(twin_firing, gradients_are_slopes, .timeout = 60)
{
    const struct slopes_plan plan = { .directions = 2, .coordinates = 6 };
    for (size_t i = 0; i < COUNTING + DRAWING; i++) {
        const struct twin_case c = case_of(i < COUNTING ? counting[i] : drawing[i - COUNTING], i);
        check_slopes(&c, &plan, 0);
    }
}

/* Goal: counts of the engine, and what all that reads them makes of them, are the twin's, on every
 * instruction set, with any threads and spans, and computed again; kernels of counts ran. */
Test(twin_firing, engine_of_counts, .timeout = 240)
{
    for (size_t i = 0; i < COUNTING; i++) {
        const struct twin_case c = case_of(counting[i], i);
        check_engine(&c, &(struct engine_plan){ .margin = 1e-4, .tolerance = 2e-5 });
    }
    cr_assert_gt(fixture_events.calls[KERNEL_conv_forward_events_counts], 0);
    cr_assert_gt(fixture_events.calls[KERNEL_conv_backward_weights_events_counts], 0);
}

/* Goal: spikes that are drawn are the twin's: the same numbers for a cell in every way to run. */
Test(twin_firing, engine_of_drawn_spikes, .timeout = 240)
{
    for (size_t i = 0; i < DRAWING; i++) {
        const struct twin_case c = case_of(drawing[i], i);
        check_engine(&c, &(struct engine_plan){ .margin = 1e-4, .tolerance = 2e-5 });
    }
    check_events_ran();
}

/* Goal: a wrong sign of any gradient is seen. */
Test(twin_firing, wrong_signs_are_seen, .timeout = 60)
{
    const struct twin_case c = case_of(counting[0], 0), d = case_of(drawing[0], 0);
    check_signs(&c, &(struct engine_plan){ .margin = 1e-4, .tolerance = 2e-5 });
    check_signs(&d, &(struct engine_plan){ .margin = 1e-4, .tolerance = 2e-5 });
}
