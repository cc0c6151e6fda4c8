/* order: the canonical orders of every reduction (design 5.7). Each output is one fma chain from
 * +0; bias and scale are applied once after the chain. Dense, event-driven, tiled and plain code
 * keep these orders and so give the same bits.
 *
 *   convolution forward        input channel block of ORDER_BLOCK, row tap, column tap, channel
 *   convolution backward-data  output channel block of ORDER_BLOCK, row tap, column tap, channel;
 *                              by Winograd (conv_winograd.h, the shape decides): output channel,
 *                              one chain for each of a tile's 36 (one axis: 6) points
 *   convolution backward-weights  sample, time, output row, output column
 *   linear forward             input index;   backward-data: output index
 *   linear backward-weights    sample, time
 *
 * With groups the channels are those of the group. A tap outside the image adds nothing; skipping
 * it or adding fma(0, w, a) is the same, since chains begin at +0 and weights are finite. */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#define ORDER_BLOCK 64

#endif
