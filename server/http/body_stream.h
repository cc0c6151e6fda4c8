/* body_stream: an answer that is read from disk while it is sent: one part of it is in memory, and
 * reading happens in the thread pool while the connection sleeps. Loop thread. */
#ifndef SERVER_BODY_STREAM_H
#define SERVER_BODY_STREAM_H

#include "server/http/http.h"

struct body_source {
    /* Pool thread. *got 0: the end. Errors break the answer off. */
    int (*read)(struct body_source *s, unsigned char *out, size_t room, size_t *got, struct err *e);
    /* Pool thread, once, when nothing is read any more: closes files. */
    void (*close)(struct body_source *s);
    /* Loop, after that; frees. e: why it was broken off; ERR_OK: it was sent, or the client left.
     */
    void (*closed)(struct body_source *s, const struct err *e);
};
/* A response to hand to respond_with. bytes: MHD_SIZE_UNKNOWN when nobody knows. The source is
 * taken over; NULL: no memory, and it is not. The client may take 60 s for each part. */
struct MHD_Response *body_stream_response(struct request *r, struct body_source *source,
                                          uint64_t bytes);

#endif
