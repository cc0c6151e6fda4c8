/* blas: the only caller of OpenBLAS, which the benchmarks set against our own products. No product
 * of the worker is OpenBLAS's (docs/decisions.md). */
#ifndef BENCH_BLAS_H
#define BENCH_BLAS_H

#include <stddef.h>

/* Once at start: OpenBLAS runs on the calling thread only. */
void blas_init(void);
/* The kind of core whose kernels OpenBLAS chose ("SkylakeX"): what it does not know it takes for
 * an older one. */
const char *blas_core(void);
/* c[m][n] = a[m][k] * b[k][n] (or b given as [n][k] when transposed), onto what c holds when add;
 * row strides in floats. */
void blas_gemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
               int b_transposed, int add, float *c, size_t ldc);

#endif
