/* surrogate: picks the derivative loop of a spec's surrogate for the chosen instruction set.
 * Called while a net is built, on the main thread. */
#include "worker/neurons/surrogate.h"

#include <assert.h>

extern surrogate_fn *const surrogate_table_generic[];
#if defined(__x86_64__)
extern surrogate_fn *const surrogate_table_avx2[];
extern surrogate_fn *const surrogate_table_avx512[];
#endif

static surrogate_fn *const *table_of(enum isa isa)
{
#if defined(__x86_64__)
    if (isa == ISA_AVX512) return surrogate_table_avx512;
    if (isa == ISA_AVX2) return surrogate_table_avx2;
#endif
    (void)isa;
    return surrogate_table_generic;
}

struct surrogate surrogate_make(const struct spec_surrogate *spec, enum isa isa)
{
    size_t count;
    const struct spec_surrogate_kind *kinds = spec_surrogate_kinds(&count);
    assert(spec->kind >= 0 && (size_t)spec->kind < count);
    struct surrogate s = { .gradient = table_of(isa)[spec->kind],
                           .firing = kinds[spec->kind].firing };
    for (size_t i = 0; i < kinds[spec->kind].n_params; i++) s.k[i] = (float)spec->params[i];
    return s;
}
