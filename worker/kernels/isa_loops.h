/* isa_loops: the inner loops of one instruction set, gathered into its table by isa_table.c. */
#ifndef WORKER_ISA_LOOPS_H
#define WORKER_ISA_LOOPS_H

#include "worker/kernels/kernels_table.h"
#include "worker/kernels/lanes.h"

#define LOOP(name) ISA_SYMBOL(loop_##name)

void LOOP(gather)(size_t rows, size_t n, const struct gather_stretch *s, bool begin, float *acc);
void LOOP(turn_panel)(const float *from, size_t row, size_t n, float *to);
void LOOP(outer)(size_t m, size_t width, const struct outer_run *run, float *acc);
void LOOP(linear_rows)(size_t rows, const uint32_t *begin, const uint8_t *index, const float *value,
                       const float *w, float *acc);
size_t LOOP(list_events)(const uint64_t *mask, size_t n, uint8_t *out);
void LOOP(turn_masks)(uint64_t mask[64]);
void LOOP(winograd_in)(const float *const rows[6], size_t columns, size_t width, size_t pixel,
                       float *v, size_t stride);
void LOOP(winograd_out)(const float *m, size_t stride, float *const rows[4], size_t columns,
                        size_t width, size_t pixel, float scale);
void LOOP(winograd_kernel)(const float *w, size_t tap, float *u, size_t stride);
void LOOP(winograd_line_in)(const float *const pixels[6], size_t width, float *v, size_t stride);
void LOOP(winograd_line_out)(const float *m, size_t stride, float *const pixels[4], size_t width,
                             float scale);
void LOOP(winograd_line_kernel)(const float *w, size_t tap, float *u, size_t stride);
void LOOP(gather_events)(size_t n, const struct event_list *lists, size_t second, size_t pixels,
                         size_t stride, float *acc);
void LOOP(outer_events)(const struct event_outer *o, float *acc);
void LOOP(spread)(const float *from, size_t count, size_t n, const struct narrow_run *runs,
                  float *to);
void LOOP(narrow_chain)(size_t pixels, size_t pitch, size_t n, const struct narrow_stretch *s,
                        size_t at, float *acc);
void LOOP(narrow_outer)(size_t n, const size_t *offset, size_t width, const struct outer_run *run,
                        float *acc);
size_t LOOP(mask_events)(uint64_t mask, uint32_t first, uint32_t *out);
uint64_t LOOP(counts_mask)(const uint8_t *x);
uint64_t LOOP(count_bits)(const uint64_t *words, size_t n);
uint64_t LOOP(count_counts)(const uint8_t *x, size_t n);
void LOOP(route_bits)(uint64_t mask, const float *dy, float *dx, size_t n);
void LOOP(route_window)(const uint64_t *won, size_t taps, const float *dy, float *const *dx,
                        size_t n);
void LOOP(average)(float *mean, const float *x, float keep, float fresh, size_t n);
void LOOP(sgd)(const struct sgd_args *a, float *p, const float *g, float *m, size_t n);
void LOOP(adam)(const struct adam_args *a, float *p, const float *g, float *m, float *v, float *top,
                size_t n);
void LOOP(rmsprop)(const struct rmsprop_args *a, float *p, const float *g, float *v, float *mean,
                   float *m, size_t n);

#endif
