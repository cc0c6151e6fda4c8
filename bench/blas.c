/* blas: see blas.h. */
#include "bench/blas.h"

#include <cblas.h>

void blas_init(void) { openblas_set_num_threads(1); }
const char *blas_core(void) { return openblas_get_corename(); }

void blas_gemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
               int b_transposed, int add, float *c, size_t ldc)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans, (blasint)m,
                (blasint)n, (blasint)k, 1.0f, a, (blasint)lda, b, (blasint)ldb,
                add ? 1.0f : 0.0f, c, (blasint)ldc);
}
