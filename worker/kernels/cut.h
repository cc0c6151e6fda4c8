/* cut: arithmetic of cutting work into items and tiles. Private to kernels/. */
#ifndef WORKER_CUT_H
#define WORKER_CUT_H

#include <stddef.h>

static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t larger(size_t a, size_t b) { return a > b ? a : b; }

#endif
