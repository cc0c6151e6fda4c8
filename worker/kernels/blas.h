/* blas: the only caller of OpenBLAS; single-threaded calls on fixed tiles (design 5.8). */
#ifndef WORKER_BLAS_H
#define WORKER_BLAS_H

#include <stddef.h>

/* Once at start: OpenBLAS runs on the calling thread only. */
void blas_init(void);
/* The kind of core whose kernels OpenBLAS chose ("SkylakeX"): other kinds give other bits. */
const char *blas_core(void);
/* c[m][n] = a[m][k] * b[k][n] (or b given as [n][k] when transposed), onto what c holds when add;
 * row strides in floats. */
void blas_gemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
               int b_transposed, int add, float *c, size_t ldc);

#endif
