/* isa_register: one register of this instruction set. The sixteen lanes of lanes.h would be two of
 * them with AVX2, which the compiler keeps in memory. Included by the loops that hold a tile of
 * accumulators (isa_gemm.c, isa_events.c). */
#ifndef WORKER_ISA_REGISTER_H
#define WORKER_ISA_REGISTER_H

#include "worker/kernels/lanes.h"

#if defined(__AVX512F__)
typedef __m512 vec;
#define VEC 16
#define TILE_ROWS 14
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, v) _mm512_storeu_ps(p, v)
#define vec_set(x) _mm512_set1_ps(x)
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#elif defined(__AVX2__)
typedef __m256 vec;
#define VEC 8
#define TILE_ROWS 6
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_store(p, v) _mm256_storeu_ps(p, v)
#define vec_set(x) _mm256_set1_ps(x)
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#else
typedef lanes_f vec;
#define VEC 16
#define TILE_ROWS 2
#define vec_load(p) lanes_load(p)
#define vec_store(p, v) lanes_store(p, v)
#define vec_set(x) lanes_set(x)
#define vec_fma(a, b, c) lanes_fma(a, b, c)
#endif

#endif
