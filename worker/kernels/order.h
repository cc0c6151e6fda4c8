/* order: the canonical orders of every reduction (design 5.7). Each output is one fma chain from
 * +0; bias and scale are applied once after the chain. Dense, event-driven, tiled and plain code
 * keep these orders and so give the same bits.
 *
 *   convolution forward        input channel block of ORDER_BLOCK, row tap, column tap, channel
 *   convolution backward-data  output channel block of ORDER_BLOCK, row tap, column tap, channel;
 *                              by Winograd (conv_winograd.h, the shape decides): output channel,
 *                              one chain for each of a tile's 36 points
 *   convolution backward-weights  sample, time, output row, output column
 *   linear forward             input index;   backward-data: output index
 *   linear backward-weights    sample, time
 *
 * Products by OpenBLAS (numerics "fast"; linear backward-data and linear layers of floats) have an
 * order of its own, which depends on the shape of a call and, on some CPU types, on the place of a
 * row in it: Haswell's kernel takes 12 rows as 6 and 6. So every call has one shape for a layer:
 * 96 rows, 256 columns, 768 inputs (less at the end of the columns and inputs). A row of an even
 * time-step stands in the first half of some 12, one of an odd step in the second; rows that are
 * missing are zero. Bits then do not depend on batch, shard, rank, span or threads.
 *
 * With groups the channels are those of the group. A tap outside the image adds nothing; skipping
 * it or adding fma(0, w, a) is the same, since chains begin at +0 and weights are finite. */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#define ORDER_BLOCK 64

#endif
