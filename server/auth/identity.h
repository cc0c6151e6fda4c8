/* identity: who is asking. On this machine the kernel says whose connection it is (design 7), asked
 * once, when it is accepted; a token or session that comes with a request is looked up in
 * accounts.h and counts instead. Loop thread. */
#ifndef SERVER_IDENTITY_H
#define SERVER_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define IDENTITY_USER_MAX 64
#define IDENTITY_NO_UID ((uid_t)-1)

/* In order: each may do what those before it may. */
enum identity_role { ROLE_NOBODY, ROLE_VIEWER, ROLE_USER, ROLE_ADMIN, ROLE_COUNT };
enum identity_via { VIA_SOCKET, VIA_LOOPBACK, VIA_NETWORK };
enum identity_by { BY_PEER, BY_TOKEN, BY_SESSION };
struct identity {
    enum identity_role role;
    enum identity_via via;
    enum identity_by by;
    uid_t uid;              /* IDENTITY_NO_UID: not known here */
    bool disabled;          /* known, and shut out by an admin; then role is ROLE_NOBODY */
    int64_t token, session; /* ids; 0 = none */
    char user[IDENTITY_USER_MAX];
};
/* fd: an accepted socket, unix or TCP. Peers of other machines, closed sockets and system users are
 * ROLE_NOBODY. uid 0 and the daemon's own uid are ROLE_ADMIN, uids from 1000 on ROLE_USER. */
struct identity identity_of(int fd);
const char *identity_role_name(enum identity_role role);
/* viewer, user or admin; false (and *out untouched): none of them. */
bool identity_role_from_name(const char *name, enum identity_role *out);
const char *identity_via_name(enum identity_via via);
const char *identity_by_name(enum identity_by by);
/* Role of a local uid; own: the uid that is admin beside root. */
enum identity_role identity_role_of(uid_t uid, uid_t own);

#endif
