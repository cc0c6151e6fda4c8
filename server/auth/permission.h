/* permission: who may do what, as one table: what a route is about x role x whose object it is. The
 * router decides from it, docs/api.md shows it, a story asks every cell of the running daemon.
 * Pure; any thread. */
#ifndef SERVER_PERMISSION_H
#define SERVER_PERMISSION_H

#include "server/auth/identity.h"

/* What a route needs. A route without one is refused to everybody. */
enum access {
    ACCESS_UNDECIDED,
    ACCESS_OPEN,    /* nothing to protect */
    ACCESS_READ,    /* signed-in people */
    ACCESS_BEGIN,   /* a new experiment of one's own */
    ACCESS_CHANGE,  /* an experiment: its owner, and admins */
    ACCESS_SELF,    /* a person's own credentials: viewers have some, too */
    ACCESS_PRIVATE, /* one of somebody's credentials: nobody else learns that it exists */
    ACCESS_ADMIN,
    ACCESS_WORKER, /* on the workers' socket alone */
    ACCESS_COUNT
};
/* What a route is about; those with an owner are looked up by the first {} of its path. */
enum object {
    OBJECT_NONE,
    OBJECT_EXPERIMENT,
    OBJECT_SWEEP,
    OBJECT_TOKEN,
    OBJECT_SESSION,
    OBJECT_USER,
    OBJECT_QUEUE,
    OBJECT_DAEMON
};
enum ownership {
    OWNER_NONE,
    OWNER_SELF,
    OWNER_OTHER,
    OWNER_COUNT
}; /* NONE: of nobody, or absent */

#define PERMITTED 0
/* PERMITTED, or the HTTP status of the refusal: 401, 403, 404. */
int permission_of(enum access access, enum identity_role role, enum ownership owner);

#endif
