/* replay_ring: see replay_ring.h. */
#include "server/stream/replay_ring.h"

#include "common/mem.h"

#include <string.h>

int ring_init(struct replay_ring *r, struct err *e)
{
    *r = (struct replay_ring){ .first = 1, .next = 1 };
    r->events = mem_calloc(RING_EVENTS_MAX, sizeof r->events[0]);
    return r->events != NULL ? 0 : err_set(e, ERR_NOMEM, "event ring");
}

static void drop_first(struct replay_ring *r)
{
    struct ring_event *old = &r->events[r->first % RING_EVENTS_MAX];
    r->bytes -= old->length;
    mem_free(old->text);
    *old = (struct ring_event){ 0 };
    r->first++;
}

void ring_deinit(struct replay_ring *r)
{
    while (r->events != NULL && r->first < r->next) drop_first(r);
    mem_free(r->events);
    *r = (struct replay_ring){ 0 };
}

bool ring_push(struct replay_ring *r, const char *event, const char *data, int64_t experiment,
               bool everybody)
{
    char *text = mem_printf("event: %s\ndata: %s\n", event, data);
    if (text == NULL) return false;
    const size_t length = strlen(text);
    while (r->first < r->next &&
           (r->next - r->first >= RING_EVENTS_MAX || r->bytes + length > RING_BYTES_MAX))
        drop_first(r);
    r->events[r->next % RING_EVENTS_MAX] = (struct ring_event){ text, length, experiment,
                                                                everybody };
    r->bytes += length;
    r->next++;
    return true;
}

const struct ring_event *ring_get(const struct replay_ring *r, uint64_t number)
{
    if (number < r->first || number >= r->next) return NULL;
    return &r->events[number % RING_EVENTS_MAX];
}
