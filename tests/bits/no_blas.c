/* no_blas: stands in for worker/kernels/blas.c where OpenBLAS is not: exact numerics never call it.
 * Linked by bits alone. */
#include "worker/kernels/blas.h"

#include <stdio.h>
#include <stdlib.h>

void blas_init(void) {}
const char *blas_core(void) { return "none"; }

void blas_gemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
               int b_transposed, int add, float *c, size_t ldc)
{
    (void)m, (void)n, (void)k, (void)a, (void)lda, (void)b, (void)ldb;
    (void)b_transposed, (void)add, (void)c, (void)ldc;
    (void)fprintf(stderr, "bits: exact numerics called OpenBLAS\n");
    abort();
}
