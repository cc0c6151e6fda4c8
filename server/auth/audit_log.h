/* audit_log: who asked for which change of what, as rows. The row is handed to the writer before
 * what it tells of, so no change is committed without it; the status of the answer follows. Loop
 * thread, but for audit_each. */
#ifndef SERVER_AUDIT_LOG_H
#define SERVER_AUDIT_LOG_H

#include "server/auth/identity.h"
#include "server/store/store.h"

#define AUDIT_ROWS_MAX 200000 /* one more, and the oldest goes */
#define AUDIT_OBJECT_MAX 96   /* "experiment/12" */
#define AUDIT_PATH_MAX 160
#define AUDIT_REQUEST_MAX 32

struct audit_row {
    int64_t seq, at_ms;
    char actor[IDENTITY_USER_MAX];
    char role[8], via[12]; /* via: socket, loopback, network */
    int64_t token;         /* 0 = none */
    char method[8];
    char path[AUDIT_PATH_MAX]; /* cut; bytes outside ASCII are ? */
    char object[AUDIT_OBJECT_MAX];
    int64_t status; /* 0 = not answered */
    char request_id[AUDIT_REQUEST_MAX];
};

struct audit_log;
/* Errors: ERR_DB, ERR_NOMEM. */
int audit_open(struct audit_log **out, struct store *s, struct err *e);
void audit_close(struct audit_log *l); /* when the store is idle, for good */
/* Fills seq and at_ms of a copy of row and writes it. Returns seq; 0: out of memory. */
int64_t audit_begin(struct audit_log *l, const struct audit_row *row);
void audit_end(struct audit_log *l, int64_t seq, unsigned status, const char *object);

struct audit_query {
    const char *actor, *object; /* NULL = any */
    int64_t before;             /* rows with a lower seq; 0 = from the newest */
    int64_t limit;
};
/* Newest first, until row returns false. Any thread; reads through a connection of its own.
 * Errors: ERR_DB. */
int audit_each(const char *db_path, const struct audit_query *q,
               bool (*row)(void *ctx, const struct audit_row *r), void *ctx, struct err *e);
const char *audit_db_path(const struct audit_log *l);

#endif
