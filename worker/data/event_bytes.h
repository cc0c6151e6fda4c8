/* event_bytes: files of address events, from bytes to events. Outside bytes: every length and
 * address is checked, and a fault names the byte. Pure but for the growing list; any thread. */
#ifndef WORKER_EVENT_BYTES_H
#define WORKER_EVENT_BYTES_H

#include "worker/data/event_frames.h"

#define EVENT_LIST_MAX ((size_t)1 << 26) /* events of one recording: 1 GiB of them */

/* Events of one recording; reused from one to the next. Zeroed: empty. */
struct event_list {
    struct event *at;
    size_t count, capacity;
};
void event_list_deinit(struct event_list *l);
/* Room for `count` events; those that are there stay. Errors: ERR_DATA (more than EVENT_LIST_MAX),
 * ERR_NOMEM. */
int event_list_reserve(struct event_list *l, size_t count, struct err *e);
/* By time; events of one time keep their order. Errors: ERR_NOMEM. */
int event_list_sort(struct event_list *l, struct err *e);

struct event_sensor {
    size_t h, w;
};
/* A parser fills the list anew. Errors: ERR_DATA ("byte N: what"), ERR_NOMEM. */
typedef int event_parse_fn(const uint8_t *bytes, size_t n, struct event_sensor sensor,
                           struct event_list *out, struct err *e);
/* N-MNIST, N-Caltech101: 5 bytes an event: x, y, then polarity in bit 23 and microseconds in bits
 * 22 to 0, big-endian. y = 240 is no event but an overflow of the sensor's clock: 2^13 us are added
 * to all later times (Orchard et al. 2015, Read_Ndataset.m). Order: by time. */
event_parse_fn event_parse_atis;
/* AEDAT 2.0 of a DVS128 (CIFAR10-DVS): lines of '#', then 8 bytes an event, big-endian: address,
 * microseconds. x = 127 - bits 14 to 8, y = 127 - bits 7 to 1, p = 1 - bit 0 of the address, as
 * SpikingJelly turns them; bit 15 marks a signal that is no event. */
event_parse_fn event_parse_aedat2;
/* AEDAT 3.1 (DVS128 Gesture): lines of '#' up to #!END-HEADER, then packets: 28 bytes of header,
 * little-endian, and their events. Polarity events count, less those that are marked invalid; other
 * packets are skipped. */
event_parse_fn event_parse_aedat3;

/* Rows "class,start,end" (microseconds) of a label file of DVS128 Gesture, below a line of titles.
 */
struct event_segment {
    uint32_t class; /* from 0 */
    int64_t begin, end;
};
#define EVENT_SEGMENTS_MAX 256
/* Fills at most EVENT_SEGMENTS_MAX segments. Errors: ERR_DATA ("line N: what"). */
int event_parse_segments(const uint8_t *bytes, size_t n, uint32_t classes,
                         struct event_segment *out, size_t *count, struct err *e);

#endif
