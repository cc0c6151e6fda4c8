/* conv_groups: see conv_groups.h. */
#include "worker/kernels/conv_groups.h"

#include "worker/kernels/kernels_table.h"

bool conv_groups_wide(const struct conv_shape *cs)
{
    return cs->c / cs->groups % PANEL == 0 && cs->k / cs->groups % PANEL == 0;
}

struct conv_shape conv_groups_one(const struct conv_shape *cs)
{
    struct conv_shape one = *cs;
    one.c /= cs->groups;
    one.k /= cs->groups;
    one.groups = 1;
    return one;
}

struct tensor_desc conv_groups_slice(const struct tensor_desc *d, size_t groups, size_t g,
                                     size_t *at)
{
    struct tensor_desc slice = *d;
    if (groups == 1) {
        *at = 0;
        return slice;
    }
    slice.c = slice.c_stored = d->c / groups;
    *at = g * slice.c / PANEL * d->block32;
    return slice;
}
