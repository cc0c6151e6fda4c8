/* online_copy: copies of both databases while the daemon works: slices between the transactions of
 * their writer threads, with pauses; at the end both as of the same moment. Loop thread. */
#ifndef SERVER_ONLINE_COPY_H
#define SERVER_ONLINE_COPY_H

#include "server/store/store.h"

struct online_copy;
/* Writes DIR/metrics.db and DIR/spiked.db. done: once, later; then it is freed. What the copies say
 * belongs together: no experiment, attempt or end is in spiked.db whose points are not in
 * metrics.db, and no points of an experiment that it does not know. Errors of done: ERR_DB,
 * ERR_DATA (quick_check), ERR_IO, ERR_STOPPED. Errors: ERR_NOMEM. */
int online_copy_start(struct online_copy **out, uv_loop_t *loop, struct store *metrics,
                      struct store *main, const char *dir,
                      void (*done)(void *ctx, const struct err *e), void *ctx, struct err *e);
/* The daemon ends: soon done is called with ERR_STOPPED. May be repeated. */
void online_copy_stop(struct online_copy *c);

#endif
