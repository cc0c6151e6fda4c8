/* kernels: every heavy loop of a training step, behind one table per instruction set.
 *
 * Called by layers, neurons and optimisers with arena memory; knows nothing of them. No kernel
 * allocates, locks or logs. Each has a plain twin in reference.c with the same arguments; tests
 * compare them. Results do not depend on the instruction set or the thread count:
 *   - vectors run across output channels; every output is one fma chain in canonical order
 * (order.h);
 *   - lane sums use 16 virtual lanes; long sums are doubles: per sample, chained, then a binary
 * tree over shards;
 *   - own polynomials instead of libm (lanes.h), true division, denormals on.
 * Shapes: T time, B batch, C channels in, K channels out, H W image, R S kernel taps. */
#ifndef WORKER_KERNELS_H
#define WORKER_KERNELS_H

#include "common/err.h"
#include "worker/kernels/threads.h"
#include "worker/tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum isa { ISA_GENERIC, ISA_AVX2, ISA_AVX512, ISA_COUNT };
/* Best of this CPU, or SPIKED_ISA=generic|avx2|avx512. Errors: ERR_INVALID (unknown or not
 * here). */
int kernels_choose(enum isa *out, struct err *e);
const char *isa_name(enum isa isa);
/* How checkpoints name this CPU: by the instruction set. No kernel's bits depend on it. */
#define KERNELS_CPU_MAX 64
void kernels_cpu(enum isa isa, char out[KERNELS_CPU_MAX]); /* "avx512" */

/* The form of convolution and linear layers: by shape, input and its density, or forced
 * (SPIKED_PATH, --path). EVENT: spikes are events
 * wherever a loop for them fits the shape. DENSE: they are expanded to floats first.
 * These have equal bits. WINOGRAD: every gradient of data that Winograd can do, whatever its size;
 * its sums are others. */
enum kernel_path {
    KERNEL_PATH_AUTO,
    KERNEL_PATH_EVENT,
    KERNEL_PATH_DENSE,
    KERNEL_PATH_WINOGRAD
};
/* name NULL: SPIKED_PATH, or auto. Errors: ERR_INVALID (unknown, or not in this build). */
int kernels_choose_path(const char *name, enum kernel_path *out, struct err *e);

struct kernel_trace; /* worker/kernels/kernel_trace.h */
struct kernels; /* table of one instruction set; worker/kernels/kernels_table.h */
struct kernel_ctx {
    const struct kernels *k;
    struct threads *threads;
    unsigned char *scratch;     /* threads * scratch_per_thread bytes, 64-byte aligned */
    size_t scratch_per_thread;  /* >= KERNEL_SCRATCH_BYTES */
    bool exact;                 /* numerics: "exact"; no kernel makes use of "fast" today */
    enum kernel_path path;
    size_t first_step;          /* of time: what step 0 of the tensors is (net_stream_step) */
    struct kernel_trace *trace; /* counts calls; NULL: nobody asks */
};
#define KERNEL_SCRATCH_BYTES ((size_t)512 * 1024)
const struct kernels *kernels_get(enum isa isa); /* NULL when not built */

/* ---- convolution ----------------------------------------------------------------------------- */
struct conv_shape {
    size_t c, h, w;          /* input */
    size_t k, oh, ow;        /* output */
    size_t r, s;             /* kernel taps: rows, columns */
    size_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
    size_t groups;
};
/* Weights live packed in an order of the kernels' own; gradients and optimiser moments share it.
 * Padding entries are 0 and stay 0. */
size_t conv_weight_floats(const struct conv_shape *cs);
void conv_pack(const struct conv_shape *cs, const float *oihw, float *packed);
void conv_unpack(const struct conv_shape *cs, const float *packed, float *oihw);
/* Where element i of PyTorch's order lies in the packed one. */
size_t conv_packed_at(const struct conv_shape *cs, size_t i);
/* y[img, p, k] = bias[k] + x.scale * sum over (channel block of 64, r, s, c) x * w; steps t only.
 * x F32 | REPEAT | BITS | COUNT8; y F32 | REPEAT, not blocked. bias NULL = none. */
void conv_forward(const struct kernel_ctx *kc, const struct conv_shape *cs,
                  const struct tensor_desc *xd, const void *x, const float *w, const float *bias,
                  const struct tensor_desc *yd, float *y, struct span t);
/* dx = sum over (k block of 64, r, s, k) dy * w, times x.scale; dy blocked. wt: scratch of
 * conv_weight_t_floats floats, filled by conv_transpose once a step. Large 3 x 3, 1 x 3
 * and 3 x 1 kernels by Winograd (conv_winograd.h): rounded otherwise, a few 1e-6 of the largest. */
size_t conv_weight_t_floats(const struct conv_shape *cs, enum kernel_path path);
/* Bytes of scratch a thread needs, for spikes as floats or events and for tiles. */
size_t conv_thread_scratch(const struct conv_shape *cs, const struct tensor_desc *xd,
                           enum kernel_path path);
void conv_transpose(const struct kernel_ctx *kc, const struct conv_shape *cs, const float *w,
                    float *wt);
void conv_backward_data(const struct kernel_ctx *kc, const struct conv_shape *cs,
                        const struct tensor_desc *dyd, const float *dy, const float *wt,
                        float x_scale, const struct tensor_desc *dxd, float *dx, struct span t);
/* dw (packed, overwritten) = x.scale * sum over samples in b, then t, row, column of x * dy. */
void conv_backward_weights(const struct kernel_ctx *kc, const struct conv_shape *cs,
                           const struct tensor_desc *xd, const void *x,
                           const struct tensor_desc *dyd, const float *dy, struct span b,
                           float *dw);

/* ---- linear: rows = images, one row of features each ----------------------------------------- */
/* w [in.c_stored][out_stored], out_stored = out padded to 16; rows of spare features are 0. */
void linear_forward(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                    const float *w, const float *bias, const struct tensor_desc *yd, float *y,
                    struct span t);
/* xd: descriptor of the forward input, whose feature order w has (spikes are padded wider). dx may
 * be blocked: x is then a convolution's output of one pixel. */
void linear_backward_data(const struct kernel_ctx *kc, const struct tensor_desc *dyd,
                          const float *dy, const float *w, const struct tensor_desc *xd,
                          const struct tensor_desc *dxd, float *dx, struct span t);
void linear_backward_weights(const struct kernel_ctx *kc, const struct tensor_desc *xd,
                             const void *x, const struct tensor_desc *dyd, const float *dy,
                             struct span b, float *dw);
/* db[k] (overwritten) = sum of dy over samples in b, all t and pixels: per sample in double. */
void bias_backward(const struct kernel_ctx *kc, const struct tensor_desc *dyd, const float *dy,
                   struct span b, float *db);

/* ---- parts of a sample, for neighbours that work while rows are in cache (nets/fusion.c) ------
 */
/* Steps, rows and columns of sample b. */
struct image_tile {
    size_t b;
    struct span t, rows, columns;
};
/* Memory of a tile: [1][t][rows][columns][c], all its time-steps, of which a call may touch a span.
 * Kernels that take a tile run on the caller's thread. */

/* ---- batch norm over T*B*H*W ----------------------------------------------------------------- */
/* Sums per sample, chained over rows, steps and columns; partial [b][2][c_stored] doubles: sum x,
 * sum x^2 of the stored steps. */
void bn_partial_sums(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                     double *partial);
/* Chains samples inside each shard, adds shards as a binary tree: mean and biased variance of n
 * values a channel. */
void bn_finish(const struct tensor_desc *xd, const double *partial, size_t shards, double n,
               double *mean, double *var);
/* y = (x - mean) * (gamma * inv_std) + beta with a[c] = gamma*inv_std, sh[c] = beta - mean*a[c]:
 * y = fma(x, a, sh). */
void bn_apply(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
              const float *a, const float *sh, const struct tensor_desc *yd, float *y);
/* The same of one tile. */
void bn_apply_tile(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                   const float *a, const float *sh, const struct image_tile *at,
                   const struct tensor_view *y);
/* Columns whose sums are one chain; how many strips of them a row has. */
#define BN_STRIP ((size_t)8)
size_t bn_strips(const struct tensor_desc *xd);
/* partial [b][strips][2][c_stored]: sum dy, sum dy * (x - mean) * inv_std, each chained over rows,
 * steps and the columns of a strip. */
void bn_backward_sums(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                      const struct tensor_desc *dyd, const float *dy, const float *mean,
                      const float *inv_std, double *partial);
/* The same tile by tile, on the caller's thread: tiles of whole strips and all steps, of each strip
 * from the first row to the last, leave the bits of bn_backward_sums. */
void bn_backward_sums_tile(const struct kernel_ctx *kc, const struct tensor_desc *xd,
                           const float *x, const struct tensor_desc *dyd, const float *dy,
                           const float *mean, const float *inv_std, const struct image_tile *at,
                           double *partial);
/* dx = k0[c]*dy + k1[c] + k2[c]*x (training), k1 = k2 = 0 in evaluation; dx may be blocked. */
void bn_backward_data(const struct kernel_ctx *kc, const struct tensor_desc *xd, const float *x,
                      const struct tensor_desc *dyd, const float *dy, const float *k0,
                      const float *k1, const float *k2, const struct tensor_desc *dxd, float *dx);

/* ---- pooling --------------------------------------------------------------------------------- */
struct pool_shape {
    size_t h, w, oh, ow;
    size_t kh, kw, stride_h, stride_w, pad_h, pad_w;
    bool count_include_pad;
    bool adaptive; /* averages: window i is [i*h/oh, ceil((i+1)*h/oh)); kh ... pad_w unused */
    size_t dil_h, dil_w; /* maximum only: distance of taps; 0 = 1 */
};
/* x BITS -> y BITS (or of the window), COUNT8 | F32 | REPEAT -> same kind. A NaN is the maximum. */
void max_pool_forward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                      const struct tensor_desc *xd, const void *x, const struct tensor_desc *yd,
                      void *y, struct span t);
/* The whole gradient goes to the first maximum in row-major order of the window. dx overwritten. */
void max_pool_backward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                       const struct tensor_desc *xd, const void *x, const struct tensor_desc *dyd,
                       const float *dy, const struct tensor_desc *dxd, float *dx, struct span t);
/* No two windows share a position and none is padded, dilated or cut at the image's edge
 * (ceil_mode): a tile whose borders are borders of windows has its gradient to itself. */
bool max_pool_has_tiles(const struct pool_shape *ps);
void max_pool_note_backward(const struct kernel_ctx *kc,
                            const struct tensor_desc *xd); /* a trace */
void max_pool_backward_tile(const struct kernel_ctx *kc, const struct pool_shape *ps,
                            const struct tensor_desc *xd, const void *x,
                            const struct tensor_desc *dyd, const float *dy,
                            const struct image_tile *at, const struct tensor_view *dx);
/* x F32 | REPEAT | BITS | COUNT8. y F32 | REPEAT, or COUNT8 with scale (when x is BITS or COUNT8,
 * the divisor is constant and the largest sum fits 255). */
void avg_pool_forward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                      const struct tensor_desc *xd, const void *x, const struct tensor_desc *yd,
                      void *y, struct span t);
void avg_pool_backward(const struct kernel_ctx *kc, const struct pool_shape *ps,
                       const struct tensor_desc *dyd, const float *dy,
                       const struct tensor_desc *dxd, float *dx, struct span t);

/* ---- two branches that meet: a + b, a * b, a * (1 - b) --------------------------------------- */
enum connect_kind { CONNECT_ADD, CONNECT_AND, CONNECT_IAND };
/* a, b any kind and layout; one step of a REPEAT stands for all. y BITS (of BITS, not ADD), COUNT8
 * (of BITS and COUNT8 with scale 1; the caller knows that 255 is enough), F32, or REPEAT when both
 * are. */
void connect_forward(const struct kernel_ctx *kc, enum connect_kind kind,
                     const struct tensor_view *a, const struct tensor_view *b,
                     const struct tensor_view *y, struct span t);
/* dx of a, or of b when `second`; other: the value of the one it is not of. A REPEAT dx is summed
 * over t ascending. */
void connect_backward(const struct kernel_ctx *kc, enum connect_kind kind, bool second,
                      const struct tensor_view *other, const struct tensor_view *dy,
                      const struct tensor_view *dx, struct span t);

/* ---- dropout: one mask per sample, shared by all T ------------------------------------------- */
/* keep: bits [B][H][W][ceil(C/64)]. BITS: y = x & keep (scale is in yd); F32: y = keep ? x*s :
 * 0. */
void dropout_forward(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                     const uint64_t *keep, float s, const struct tensor_desc *yd, void *y,
                     struct span t);
void dropout_backward(const struct kernel_ctx *kc, const struct tensor_desc *dyd, const float *dy,
                      const uint64_t *keep, float s, const struct tensor_desc *dxd, float *dx,
                      struct span t);

/* ---- single values of a layer, at most 4 ulp ------------------------------------------------- */
float kernels_sigmoid(enum isa isa, float x); /* 1 / (1 + e^-x) */
float kernels_log(enum isa isa, float x);     /* ln x of normal x > 0 */

/* ---- element-wise and sums ------------------------------------------------------------------- */
void f32_fill(const struct kernel_ctx *kc, float *x, size_t n, float value);
/* Any kind -> F32 with scale applied, any layouts. */
void tensor_expand(const struct kernel_ctx *kc, const struct tensor_desc *xd, const void *x,
                   const struct tensor_desc *yd, float *y);
/* y += x, F32 or REPEAT, images of one layout and as many time-steps. */
void tensor_add(const struct kernel_ctx *kc, const struct tensor_view *y,
                const struct tensor_view *x);
/* y += x, n multiple of 16. */
void f32_add(const struct kernel_ctx *kc, float *y, const float *x, size_t n);
/* Sum of squares in double, blocks of 4096 floats chained; false when any element is not finite. */
bool f32_sum_squares(const struct kernel_ctx *kc, const float *x, size_t n, double *sum);

/* ---- optimiser updates in one pass over n floats (n multiple of 16) -------------------------- */
/* mean = keep * mean + fresh * x, each product and the sum rounded. */
void f32_average(const struct kernel_ctx *kc, float *mean, const float *x, float keep, float fresh,
                 size_t n);
struct sgd_args {
    float lr, momentum, dampening, weight_decay, grad_scale;
    bool nesterov, first; /* first: momentum buffer := gradient */
};
void sgd_update(const struct kernel_ctx *kc, const struct sgd_args *a, float *p, const float *g,
                float *m, size_t n); /* m NULL when momentum is 0 */
struct adam_args {
    float lr, beta1, beta2, eps, weight_decay, grad_scale;
    float fresh1, fresh2;    /* 1 - beta1, 1 - beta2, subtracted in double */
    float bias1, bias2_sqrt; /* 1 - beta1^t, sqrt(1 - beta2^t) */
    float shrink;            /* of the weight before the update: 1, or AdamW's 1 - lr * decay */
};
/* top: the largest v so far (AMSGrad), or NULL. */
void adam_update(const struct kernel_ctx *kc, const struct adam_args *a, float *p, const float *g,
                 float *m, float *v, float *top, size_t n);
struct rmsprop_args {
    float lr, alpha, eps, momentum, weight_decay, grad_scale;
    float fresh; /* 1 - alpha, subtracted in double */
};
/* v: mean square. mean: mean gradient (centered), or NULL. m: momentum buffer, or NULL. */
void rmsprop_update(const struct kernel_ctx *kc, const struct rmsprop_args *a, float *p,
                    const float *g, float *v, float *mean, float *m, size_t n);

#endif
