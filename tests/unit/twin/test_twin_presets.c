/* Every preset, narrow and on small images, with its own neurons: gradients of the twin against
 * finite differences, the engine against the twin. `make prove` takes every parameter. */
#include "common/spec_presets.h"
#include "tests/unit/twin/twin_fixture.h"

#include <string.h>

enum { HIDDEN = 24 }; /* instead of 512 to 4096 features */

static const struct twin_case cases[] = {
    { "sew_resnet 18",
      "'preset':'sew_resnet','stem':'cifar','width':2,'classes':5",
      { 2, 2, 3, 16, 16 },
      .input = TWIN_REPEAT },
    { "sew_resnet 50 iand",
      "'preset':'sew_resnet','depth':50,'connect':'iand','width':2,"
      "'classes':5",
      { 2, 2, 3, 48, 48 },
      .input = TWIN_REPEAT },
    { "spiking_resnet 18",
      "'preset':'spiking_resnet','stem':'cifar','width':2,'classes':5",
      { 2, 2, 3, 16, 16 },
      .input = TWIN_REPEAT },
    { "spiking_resnet 34",
      "'preset':'spiking_resnet','depth':34,'width':2,'classes':5",
      { 2, 2, 3, 48, 48 },
      .input = TWIN_REPEAT },
    { "spiking_vgg 11",
      "'preset':'spiking_vgg','width':2,'classes':5",
      { 2, 2, 3, 32, 32 },
      .input = TWIN_REPEAT },
    { "plif_mnist",
      "'preset':'plif_mnist','width':4,'classes':3",
      { 4, 2, 1, 12, 12 },
      .input = TWIN_REPEAT },
    { "plif_fashion_mnist",
      "'preset':'plif_fashion_mnist','width':4,'classes':3",
      { 4, 2, 1, 12, 12 },
      .input = TWIN_REPEAT },
    { "plif_nmnist",
      "'preset':'plif_nmnist','width':4,'classes':3,'bias':false",
      { 4, 2, 2, 10, 10 },
      .input = TWIN_FLOATS },
    { "plif_cifar10",
      "'preset':'plif_cifar10','width':4,'classes':3",
      { 3, 2, 3, 8, 8 },
      .input = TWIN_REPEAT },
    { "plif_cifar10_dvs",
      "'preset':'plif_cifar10_dvs','width':4,'classes':3",
      { 3, 2, 2, 16, 16 },
      .input = TWIN_FLOATS },
    { "plif_dvs_gesture",
      "'preset':'plif_dvs_gesture','width':3,'classes':3",
      { 3, 1, 2, 32, 32 },
      .input = TWIN_FLOATS },
    { "sew_7b",
      "'preset':'sew_7b','width':2,'classes':3",
      { 2, 1, 2, 128, 128 },
      .input = TWIN_FLOATS },
    { "wide_7b",
      "'preset':'wide_7b','width':2,'classes':3",
      { 2, 1, 2, 128, 128 },
      .input = TWIN_FLOATS },
    { "psn_cifar10",
      "'preset':'psn_cifar10','width':4,'classes':3",
      { 3, 2, 3, 8, 8 },
      .input = TWIN_REPEAT },
    { "psn_sequential_cifar",
      "'preset':'psn_sequential_cifar','width':4,'classes':3",
      { 4, 2, 3, 1, 8 },
      .input = TWIN_FLOATS },
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* Goal: no preset is left out. */
Test(twin_presets, every_preset_has_a_case)
{
    size_t names = 0;
    for (size_t i = 0; i < CASES; i++) {
        const size_t length = strcspn(cases[i].network, ","); /* 'preset':'name' */
        size_t first = 0;
        while (strncmp(cases[first].network, cases[i].network, length + 1) != 0) first++;
        names += first == i;
    }
    cr_assert_eq(names, PRESET_COUNT);
}

/* Goal: gradients of whole networks are slopes, from the output through every layer to the
 * input. */
Test(twin_presets, gradients_are_slopes, .timeout = 600)
{
    struct slopes_plan plan = { .directions = 1, .coordinates = 1, .tensors = 6 };
    if (fixture_prove()) plan = (struct slopes_plan){ .directions = 2, .coordinates = 4 };
    for (size_t i = 0; i < CASES; i++) check_slopes(&cases[i], &plan, HIDDEN);
}

/* Goal: the engine has the twin's spikes and gradients in whole networks. */
Test(twin_presets, engine, .timeout = 600)
{
    const struct engine_plan plan = {
        .margin = 1e-4, .tolerance = 3e-5, .hidden = HIDDEN, .brief = true
    };
    for (size_t i = 0; i < CASES; i++) check_engine(&cases[i], &plan);
    check_events_ran();
}
