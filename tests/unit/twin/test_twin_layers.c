/* Every layer type: gradients of the twin against finite differences, the engine against the
 * twin. */
#include "tests/unit/twin/twin_fixture.h"

enum size { IMAGE, ROW, FEATURES, WIDE };
static const struct twin_size sizes[] = {
    [IMAGE] = { 3, 4, 4, 5, 6 },
    [ROW] = { 3, 2, 6, 1, 9 },
    [FEATURES] = { 3, 4, 12, 1, 1 }, /* two samples alone have no gradient behind a batch norm */
    [WIDE] = { 2, 2, 70, 3, 3 },     /* more channels than a word of 64 */
};

/* One layer each; evaluation: with running statistics and without dropout. */
static const struct {
    const char *layers;
    enum size in;
    bool evaluation;
} cases[] = {
    { "{'type':'conv2d','out_channels':5,'kernel_size':3,'padding':1}", IMAGE, false },
    { "{'type':'conv2d','out_channels':6,'kernel_size':[3,2],'stride':[2,1],'padding':[1,0],"
      "'dilation':[1,2],'groups':2,'bias':false}",
      IMAGE, false },
    { "{'type':'conv2d','out_channels':35,'kernel_size':3,'padding':1,'bias':false}", WIDE, false },
    { "{'type':'conv2d','out_channels':3,'kernel_size':1}", IMAGE, false },
    { "{'type':'conv2d','out_channels':5,'kernel_size':3,'padding':1,"
      "'weight_standardization':true}",
      IMAGE, false },
    { "{'type':'conv2d','out_channels':4,'kernel_size':3,'stride':2,'groups':2,'bias':false,"
      "'weight_standardization':true}",
      IMAGE, false },
    { "{'type':'conv1d','out_channels':5,'kernel_size':3,'padding':1}", ROW, false },
    { "{'type':'conv1d','out_channels':4,'kernel_size':3,'stride':2,'dilation':2,'padding':2,"
      "'groups':2,'bias':false}",
      ROW, false },
    { "{'type':'conv_transpose2d','out_channels':3,'kernel_size':3,'stride':2,'padding':1,"
      "'output_padding':1}",
      IMAGE, false },
    { "{'type':'conv_transpose2d','out_channels':6,'kernel_size':[2,3],'stride':[1,3],"
      "'dilation':[2,1],'groups':2,'bias':false}",
      IMAGE, false },
    { "{'type':'linear','out_features':7}", FEATURES, false },
    { "{'type':'linear','out_features':33,'bias':false}", FEATURES, false },
    { "{'type':'linear','out_features':300}", FEATURES, false },
    { "{'type':'batch_norm'}", IMAGE, false },
    { "{'type':'batch_norm'}", WIDE, false },
    { "{'type':'batch_norm'}", FEATURES, false },
    { "{'type':'batch_norm'}", IMAGE, true },
    { "{'type':'batch_norm','eps':0.1,'momentum':0.7}", FEATURES, true },
    { "{'type':'threshold_batch_norm','alpha':0.5,'v_threshold':1.5}", IMAGE, false },
    { "{'type':'temporal_batch_norm'}", IMAGE, false },
    { "{'type':'temporal_batch_norm'}", IMAGE, true },
    { "{'type':'group_norm','groups':1}", IMAGE, false },
    { "{'type':'group_norm','groups':2}", IMAGE, false },
    { "{'type':'group_norm','groups':4,'eps':0.01}", IMAGE, false },
    { "{'type':'max_pool2d','kernel_size':2}", IMAGE, false },
    { "{'type':'max_pool2d','kernel_size':3,'stride':2,'padding':1,'ceil_mode':true}", IMAGE,
      false },
    { "{'type':'max_pool2d','kernel_size':2,'stride':1,'dilation':[2,3]}", IMAGE, false },
    { "{'type':'avg_pool2d','kernel_size':2}", IMAGE, false },
    { "{'type':'avg_pool2d','kernel_size':[3,2],'stride':2,'padding':1,'ceil_mode':true,"
      "'count_include_pad':true}",
      IMAGE, false },
    { "{'type':'avg_pool2d','kernel_size':3,'stride':2,'padding':1,'count_include_pad':false}",
      IMAGE, false },
    { "{'type':'adaptive_avg_pool2d','output_size':1}", IMAGE, false },
    { "{'type':'adaptive_avg_pool2d','output_size':[2,4]}", IMAGE, false },
    { "{'type':'flatten'}", IMAGE, false },
    { "{'type':'flatten'},{'type':'linear','out_features':3}", WIDE, false },
    { "{'type':'flatten'},{'type':'batch_norm'}", IMAGE, false },
    { "{'type':'dropout','p':0.4}", IMAGE, false },
    { "{'type':'dropout','p':0.4}", IMAGE, true },
    { "{'type':'flatten'},{'type':'dropout','p':0.3}", WIDE, false },
    { "{'type':'voting','size':3}", FEATURES, false },
    { "{'type':'upsample','scale_factor':[2,3]}", IMAGE, false },
    { "{'type':'synapse_filter','tau':2.5}", IMAGE, false },
    { "{'type':'synapse_filter','tau':2.5,'learnable':true}", IMAGE, false },
    { "{'type':'temporal_attention','reduction':1}", IMAGE, false },
    { "{'type':'temporal_attention','reduction':2}", IMAGE, false },
    { "{'type':'channel_attention','reduction':2}", IMAGE, false },
    { "{'type':'spatial_attention','kernel_size':1}", IMAGE, false },
    { "{'type':'spatial_attention','kernel_size':3}", IMAGE, false },
    { "{'type':'residual','connect':'add','body':[{'type':'batch_norm'}]}", IMAGE, false },
    { "{'type':'residual','connect':'and','body':[{'type':'batch_norm'}],"
      "'shortcut':[{'type':'group_norm','groups':2}]}",
      IMAGE, false },
    { "{'type':'residual','connect':'iand','body':[{'type':'batch_norm'}]}", IMAGE, false },
    { "{'type':'conv2d','out_channels':70,'kernel_size':2,'stride':2}", WIDE, false },
    { "{'type':'conv_transpose2d','out_channels':68,'kernel_size':2,'stride':2}", WIDE, false },
    { "{'type':'temporal_batch_norm'}", WIDE, false },
    { "{'type':'group_norm','groups':7}", WIDE, false },
    { "{'type':'max_pool2d','kernel_size':2,'stride':1}", WIDE, false },
    { "{'type':'avg_pool2d','kernel_size':2,'stride':1}", WIDE, false },
    { "{'type':'upsample'}", WIDE, false },
    { "{'type':'dropout','p':0.2}", WIDE, false },
    { "{'type':'channel_attention','reduction':7}", WIDE, false },
    { "{'type':'spatial_attention','kernel_size':3}", WIDE, false },
    { "{'type':'synapse_filter','tau':3,'learnable':true}", WIDE, false },
    { "{'type':'residual','connect':'add','body':[{'type':'max_pool2d','kernel_size':1}]}", WIDE,
      false },
    { "{'type':'residual','connect':'and','body':[{'type':'upsample','scale_factor':1}]}", WIDE,
      false },
    { "{'type':'residual','connect':'iand','body':[{'type':'max_pool2d','kernel_size':3,"
      "'stride':1,'padding':1}]}",
      WIDE, false },
    { "{'type':'recurrent','body':[{'type':'linear','out_features':5}]}", FEATURES, false },
    { "{'type':'recurrent','bias':false,'body':[{'type':'dropout','p':0.3},"
      "{'type':'recurrent','body':[{'type':'linear','out_features':4}]}]}",
      FEATURES, false },
    { "{'type':'recurrent','connect':'element_wise','body':[{'type':'conv2d','out_channels':4,"
      "'kernel_size':3,'padding':1},{'type':'group_norm','groups':2}]}",
      IMAGE, false },
    { "{'type':'recurrent','connect':'element_wise','body':[{'type':'synapse_filter','tau':4,"
      "'learnable':true},{'type':'group_norm','groups':1}]}",
      IMAGE, false },
    { "{'type':'recurrent','body':[{'type':'upsample','scale_factor':[1,2]},{'type':'flatten'}]}",
      FEATURES, false },
    { "{'type':'flatten'},{'type':'recurrent','body':[{'type':'linear','out_features':9},"
      "{'type':'residual','connect':'add','body':[{'type':'linear','out_features':9}]}]}",
      IMAGE, false },
    { "{'type':'residual','connect':'iand_swapped','body':[{'type':'conv2d','out_channels':4,"
      "'kernel_size':3,'padding':1}]}",
      IMAGE, false },
    { "{'type':'relu'}", IMAGE, false },
    { "{'type':'flatten'},{'type':'relu'}", WIDE, false },
};
enum { CASES = sizeof cases / sizeof cases[0] };

static struct twin_case case_of(size_t i, enum twin_input input, char network[static 512])
{
    (void)snprintf(network, 512, "'layers':[%s]", cases[i].layers);
    return (struct twin_case){ .name = cases[i].layers,
                               .network = network,

                               .in = sizes[cases[i].in],
                               .input = input,
                               .evaluation = cases[i].evaluation,
                               .seed = 3 + i };
}

/* Goal: no layer type is left out; neurons have tests of their own. */
Test(twin_layers, every_type_has_a_case)
{
    bool seen[SPEC_LAYER_TYPE_COUNT] = { [SPEC_NEURON] = true };
    for (size_t i = 0; i < CASES; i++) {
        char network[512];
        const struct twin_case c = case_of(i, TWIN_FLOATS, network);
        struct twin_world *w = twin_world_make(&c, 0);
        for (size_t node = 0; node < twin_nodes(w->tw); node++)
            seen[twin_layer(w->tw, node)->type] = true;
        twin_world_free(w);
    }
    for (int type = 0; type < SPEC_SEQUENTIAL; type++) /* the rest are groups of these */
        cr_assert(seen[type], "%s", spec_layer_type_name((enum spec_layer_type)type));
}

/* Goal: the twin's gradients of every layer type, input and parameters, are the slopes of its
 * forward pass. */
Test(twin_layers, gradients_are_slopes, .timeout = 60)
{
    const struct slopes_plan all = { .directions = 2, .coordinates = 60 };
    for (size_t i = 0; i < CASES; i++) {
        char network[512];
        const struct twin_case c = case_of(i, TWIN_FLOATS, network);
        check_slopes(&c, &all, 0);
    }
}

static const struct engine_plan plan = { .tolerance = 5e-6 };

static void engine_on(enum twin_input input)
{
    for (size_t i = 0; i < CASES; i++) {
        char network[512];
        const struct twin_case c = case_of(i, input, network);
        check_engine(&c, &plan);
    }
}

/* Goal: the engine computes what the twin does, from floats, repeated frames and spikes, with the
 * same bits for every instruction set and number of threads. */
Test(twin_layers, engine_on_floats, .timeout = 120)
{
    engine_on(TWIN_FLOATS);
}
Test(twin_layers, engine_on_repeated_frames, .timeout = 120)
{
    engine_on(TWIN_REPEAT);
}
Test(twin_layers, engine_on_spikes, .timeout = 120)
{
    engine_on(TWIN_SPIKES);
    check_events_ran();
}

/* Goal: a wrong sign of any gradient of any layer is seen by the comparison with the twin. */
Test(twin_layers, wrong_signs_of_the_engine_are_seen, .timeout = 60)
{
    for (size_t i = 0; i < CASES; i++) {
        char network[512];
        const struct twin_case c = case_of(i, TWIN_FLOATS, network);
        check_signs(&c, &plan);
    }
}

/* Goal: a wrong sign of a gradient of the twin is seen by its slopes. */
Test(twin_layers, wrong_signs_of_the_twin_are_seen, .timeout = 60)
{
    const struct slopes_plan few = { .directions = 1, .coordinates = 4 };
    for (size_t i = 0; i < CASES; i++) {
        char network[512];
        const struct twin_case c = case_of(i, TWIN_FLOATS, network);
        struct twin_world *w = twin_world_make(&c, 0);
        slopes_prepare(w->tw, w->up);
        for (size_t node = 0; node < twin_nodes(w->tw); node++)
            for (size_t k = 0; k < twin_params(w->tw, node); k++) {
                struct twin_param *p = twin_param(w->tw, node, k);
                if (p->buffer) continue;
                for (size_t j = 0; j < p->values; j++) p->gradient[j] = -p->gradient[j];
                cr_assert_gt(slopes_take(w->tw, w->up, &few).worst, SLOPES_TOLERANCE, "%s: %s",
                             c.name, p->name);
                for (size_t j = 0; j < p->values; j++) p->gradient[j] = -p->gradient[j];
            }
        twin_world_free(w);
    }
}
