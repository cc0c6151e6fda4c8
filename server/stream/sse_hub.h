/* sse_hub: Server-Sent Events: one ring, and a cursor for each subscriber. Loop thread.
 * Ids are EPOCH-SEQ; EPOCH is raised at each start, so an id of an earlier daemon gives `reset`. */
#ifndef SERVER_SSE_HUB_H
#define SERVER_SSE_HUB_H

#include "server/http/http.h"
#include "server/store/points_gather.h"
#include "server/stream/replay_ring.h"

#define SSE_STREAMS_MAX 1000
#define SSE_STREAMS_PER_USER_MAX 64
#define SSE_EXPERIMENTS_MAX 16 /* topics experiment:ID of one stream */
#define SSE_HEARTBEAT_S 15
#define SSE_ID_MAX 48

struct sse_hub;
/* Reads and raises state_dir/epoch. Errors: ERR_IO, ERR_NOMEM. */
int sse_hub_create(struct sse_hub **out, uv_loop_t *loop, struct http **http, const char *state_dir,
                   struct err *e);
/* Ends all streams with `bye`; they are gone when MHD has sent what is left. */
void sse_hub_end(struct sse_hub *h);
/* Ends the streams of those whom still refuses. */
void sse_hub_check(struct sse_hub *h, bool (*still)(void *ctx, const struct identity *who),
                   void *ctx);
void sse_hub_close(struct sse_hub *h, void (*on_closed)(void *ctx), void *ctx);
/* queue_observer.publish and points; ctx is the hub. Points that are many and that nobody listens
 * to are left out of the ring: whoever comes back to them from before hears `reset`. */
void sse_hub_publish(void *ctx, const char *event, int64_t experiment, const char *data_json);
void sse_hub_points(void *ctx, int64_t experiment, const struct points_gather *points);
/* Id of the last event: what a read carries as X-Event-Id, sampled before its snapshot. */
void sse_hub_last_id(const struct sse_hub *h, char out[SSE_ID_MAX]);
/* A heartbeat for every stream; the hub itself does that every SSE_HEARTBEAT_S. */
void sse_hub_beat(struct sse_hub *h);
struct sse_stats {
    size_t streams;
    uint64_t published; /* events since the start */
    size_t ring_bytes;
};
struct sse_stats sse_hub_stats(const struct sse_hub *h);
/* Answers GET events. topics: "experiments,experiment:12". */
void sse_hub_subscribe(struct sse_hub *h, struct request *r);

#endif
