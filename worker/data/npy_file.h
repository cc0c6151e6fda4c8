/* npy_file: NumPy's .npy files, from bytes to a typed array and from floats to a file. Outside
 * bytes: everything is checked, and a fault names the byte. Any thread. */
#ifndef WORKER_NPY_FILE_H
#define WORKER_NPY_FILE_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

#define NPY_DIMS_MAX 8

enum npy_type { NPY_U8, NPY_I32, NPY_I64, NPY_F32, NPY_F64 };
struct npy_array {
    enum npy_type type;
    size_t dims[NPY_DIMS_MAX], n_dims; /* row-major; n_dims 0: one value */
    size_t count;                      /* product of dims */
    const uint8_t *values;             /* little-endian, perhaps not aligned; inside the bytes */
};
/* Versions 1 to 3. Errors: ERR_DATA ("byte N: what"), also for big-endian values, Fortran order and
 * other types. */
int npy_parse(const uint8_t *bytes, size_t n, struct npy_array *out, struct err *e);
/* A matrix, written under a temporary name which is then renamed. Errors: ERR_IO, ERR_NOMEM. */
int npy_write(const char *path, size_t rows, size_t columns, const float *values, struct err *e);
double npy_value(const struct npy_array *a, size_t i); /* i < count */

#endif
