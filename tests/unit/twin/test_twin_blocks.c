/* Blocks of residual networks and multi-dimensional attention behind a small stem: gradients of the
 * twin against finite differences, the engine against the twin. */
#include "tests/unit/twin/twin_fixture.h"

/* Blocks differ in their neurons too, so that every kind of state meets every connection. */
static const char *const models[] = { "plif",       "if",        "psn",         "lif",
                                      "klif",       "alif",      "sliding_psn", "cuba_lif",
                                      "izhikevich", "gated_lif", "masked_psn" };
static const char *const connects[] = { "add", "and", "iand", "iand_swapped" };
enum { SEW = 16, CASES = SEW + 6, TEXT = 800 };

static void block(size_t i, char *out)
{
    const char *style = i % 2 == 0 ? "basic" : "bottleneck";
    const char *neuron = models[i % (sizeof models / sizeof models[0])];
    const size_t stride = 1 + i / 2 % 2;
    const int channels = i % 2 == 0 ? 4 : 2; /* a bottleneck gives four times as many */
    if (i < SEW)
        (void)snprintf(out, TEXT,
                       "{'type':'sew_block','style':'%s','connect':'%s',"
                       "'out_channels':%d,'stride':%zu,'neuron':{'model':'%s'}}",
                       style, connects[i / 4], channels, stride, neuron);
    else
        (void)snprintf(out, TEXT,
                       "{'type':'spiking_block','style':'%s','out_channels':%d,"
                       "'stride':%zu,'downsample':'%s','neuron':{'model':'%s'}}",
                       style, channels, stride, i >= SEW + 4 ? "yes" : "auto", neuron);
}

static struct twin_case case_of(size_t i, char network[static 2 * TEXT])
{
    char text[TEXT];
    block(i, text);
    (void)snprintf(network, 2 * TEXT,
                   "'layers':[{'type':'conv2d','out_channels':%d,'kernel_size':3,'padding':1,"
                   "'bias':false},{'type':'batch_norm'},{'type':'neuron','model':'lif'},%s]",
                   i % 2 == 0 ? 4 : 8, text);
    return (struct twin_case){ .name = network,
                               .network = network,
                               .in = { 3, 2, 2, 5, 6 },
                               .input = TWIN_REPEAT,
                               .seed = 40 + i };
}

/* Goal: gradients of every style, connection, stride and downsample path are slopes. */
Test(twin_blocks, gradients_are_slopes, .timeout = 60)
{
    const struct slopes_plan plan = { .directions = 2, .coordinates = 3 };
    for (size_t i = 0; i < CASES; i++) {
        char network[2 * TEXT];
        const struct twin_case c = case_of(i, network);
        check_slopes(&c, &plan, 0);
    }
}

/* Goal: the engine has the twin's spikes and gradients in every block. */
Test(twin_blocks, engine, .timeout = 120)
{
    for (size_t i = 0; i < CASES; i++) {
        char network[2 * TEXT];
        const struct twin_case c = case_of(i, network);
        check_engine(&c, &(struct engine_plan){ .margin = 1e-4, .tolerance = 2e-5 });
    }
    check_events_ran();
}

/* ---- multi-dimensional attention ------------------------------------------------------------- */
static struct twin_case attention_case(size_t i, enum twin_input input,
                                       char network[static 2 * TEXT])
{
    static const char *const fields[] = {
        "", ",'temporal':false", ",'channel':false", ",'spatial':false",
        ",'reduction_t':1,'reduction_c':4,'kernel_size':5",
    };
    (void)snprintf(network, 2 * TEXT,
                   "'layers':[{'type':'conv2d','out_channels':4,'kernel_size':3,'padding':1},"
                   "{'type':'neuron','model':'lif'},{'type':'conv2d','out_channels':4,"
                   "'kernel_size':3,'padding':1},{'type':'multi_dimensional_attention'%s},"
                   "{'type':'neuron','model':'plif'}]",
                   fields[i % (sizeof fields / sizeof fields[0])]);
    return (struct twin_case){ .name = network, .network = network, .in = { 3, 2, 2, 5, 6 },
                               .input = input, .seed = 90 + i };
}

/* Goal: gradients through the three attentions and the rectifier are slopes, with each left out. */
Test(twin_blocks, gradients_of_attention_are_slopes, .timeout = 60)
{
    const struct slopes_plan plan = { .directions = 2, .coordinates = 3 };
    for (size_t i = 0; i < 10; i++) {
        char network[2 * TEXT];
        const struct twin_case c = attention_case(i, i < 5 ? TWIN_REPEAT : TWIN_FLOATS, network);
        check_slopes(&c, &plan, 0);
    }
}

/* Goal: the engine has the twin's spikes and gradients there. */
Test(twin_blocks, engine_of_attention, .timeout = 120)
{
    for (size_t i = 0; i < 10; i++) {
        char network[2 * TEXT];
        const struct twin_case c = attention_case(i, i < 5 ? TWIN_REPEAT : TWIN_FLOATS, network);
        check_engine(&c, &(struct engine_plan){ .margin = 1e-4, .tolerance = 2e-5 });
    }
    check_events_ran();
}
