/* identity: who is at the other end of a connection, as the kernel says (design 7). Asked once,
 * when the connection is accepted. Loop thread. */
#ifndef SERVER_IDENTITY_H
#define SERVER_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#define IDENTITY_USER_MAX 64

enum identity_role { ROLE_NOBODY, ROLE_USER, ROLE_ADMIN };
enum identity_via { VIA_SOCKET, VIA_LOOPBACK, VIA_NETWORK };
struct identity {
    enum identity_role role;
    enum identity_via via;
    uid_t uid;
    char user[IDENTITY_USER_MAX];
};
/* fd: an accepted socket, unix or TCP. Peers of other machines, closed sockets and system users are
 * ROLE_NOBODY. uid 0 and the daemon's own uid are ROLE_ADMIN, uids from 1000 on ROLE_USER. */
struct identity identity_of(int fd);
const char *identity_role_name(enum identity_role role);
const char *identity_via_name(enum identity_via via);
/* Role of a local uid; used by identity_of, and by its test. */
enum identity_role identity_role_of(uid_t uid, uid_t own);

#endif
