/* Recurrent layers with neurons that spike, in small whole networks: gradients of the twin against
 * finite differences, the engine against the twin. */
#include "tests/unit/twin/twin_fixture.h"

#define CELLS "'neuron':{'model':'plif','v_threshold':0.2,'surrogate':{'type':'atan'}},"

/* Every connection and kind of body; images, features and a flattened image; one in another. */
static const char *const networks[] = {
    CELLS "'layers':[{'type':'flatten'},{'type':'linear','out_features':9},"
          "{'type':'recurrent'},{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'flatten'},{'type':'recurrent','bias':false,'neuron':{'model':'klif',"
          "'scope':'channel','v_reset':null}},{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'conv2d','out_channels':5,'kernel_size':3},{'type':'recurrent',"
          "'connect':'element_wise','neuron':{'model':'lif','detach_reset':true}},"
          "{'type':'avg_pool2d','kernel_size':2},{'type':'flatten'},"
          "{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'flatten'},{'type':'linear','out_features':6},{'type':'recurrent',"
          "'body':[{'type':'linear','out_features':11},{'type':'neuron'}]},"
          "{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'conv2d','out_channels':4,'kernel_size':3,'bias':false},"
          "{'type':'batch_norm'},{'type':'recurrent','connect':'element_wise','body':["
          "{'type':'conv2d','out_channels':4,'kernel_size':3,'padding':1},{'type':'neuron'}]},"
          "{'type':'flatten'},{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'flatten'},{'type':'linear','out_features':7},{'type':'recurrent',"
          "'body':[{'type':'neuron'},{'type':'dropout','p':0.3}]},"
          "{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'flatten'},{'type':'recurrent','body':[{'type':'linear',"
          "'out_features':8},{'type':'synapse_filter','tau':3,'learnable':true},"
          "{'type':'neuron','model':'cuba_lif'}]},{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'conv2d','out_channels':4,'kernel_size':3},{'type':'flatten'},"
          "{'type':'recurrent','connect':'element_wise','body':[{'type':'neuron'}]},"
          "{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'flatten'},{'type':'linear','out_features':6},{'type':'recurrent',"
          "'body':[{'type':'linear','out_features':6},{'type':'recurrent','connect':"
          "'element_wise','neuron':{'model':'liaf'}}]},{'type':'linear','out_features':4}]",
    CELLS "'layers':[{'type':'flatten'},{'type':'linear','out_features':6},{'type':'residual',"
          "'connect':'add','body':[{'type':'recurrent','body':[{'type':'residual','connect':"
          "'add','body':[{'type':'linear','out_features':6},{'type':'neuron'}]}]}]},"
          "{'type':'linear','out_features':4}]",
};
enum { NETWORKS = sizeof networks / sizeof networks[0] };

static struct twin_case case_of(size_t i, enum twin_input input)
{
    return (struct twin_case){ .name = networks[i],
                               .network = networks[i],
                               .in = { 4, 2, 2, 5, 4 },
                               .input = input,
                               .seed = 60 + i };
}

/* Goal: gradients through time of every connection and body are slopes. */
Test(twin_recurrent, gradients_are_slopes, .timeout = 60)
{
    const struct slopes_plan plan = { .directions = 2, .coordinates = 12 };
    for (size_t i = 0; i < NETWORKS; i++) {
        const struct twin_case c = case_of(i, TWIN_FLOATS);
        check_slopes(&c, &plan, 0);
    }
}

static const struct engine_plan plan = { .margin = 1e-4, .tolerance = 5e-6, .brief = true };

/* Goal: the engine has the twin's spikes and gradients, from floats, spikes and one frame for all
 * steps, with the same bits for every instruction set, number of threads and step mode. */
Test(twin_recurrent, engine, .timeout = 120)
{
    for (size_t i = 0; i < NETWORKS * 3; i++) {
        const struct twin_case c = case_of(i / 3, (enum twin_input)(i % 3));
        check_engine(&c, &plan);
    }
}

/* Goal: a wrong sign of any gradient of any recurrent layer is seen. */
Test(twin_recurrent, wrong_signs_are_seen, .timeout = 60)
{
    for (size_t i = 0; i < NETWORKS; i++) {
        const struct twin_case c = case_of(i, TWIN_FLOATS);
        check_signs(&c, &plan);
    }
}
