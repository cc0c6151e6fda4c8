/* Who is calling: roles of uids, unix sockets, loopback connections. */
#include "server/auth/identity.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Goal: root and the daemon are admin, people are users, system accounts and nobody are let in
 * nowhere. */
Test(identity, roles_of_local_accounts)
{
    cr_assert_eq(identity_role_of(0, 120), ROLE_ADMIN);
    cr_assert_eq(identity_role_of(120, 120), ROLE_ADMIN);
    cr_assert_eq(identity_role_of(1000, 120), ROLE_USER);
    cr_assert_eq(identity_role_of(60000, 120), ROLE_USER);
    cr_assert_eq(identity_role_of(33, 120), ROLE_NOBODY);
    cr_assert_eq(identity_role_of(65534, 120), ROLE_NOBODY);
}

/* Goal: the peer of a unix socket is who opened it. */
Test(identity, unix_sockets)
{
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    const struct identity who = identity_of(fd[0]);
    cr_assert(who.via == VIA_SOCKET && who.uid == getuid() && who.role == ROLE_ADMIN);
    cr_assert(who.user[0] != '\0');
    (void)close(fd[0]);
    (void)close(fd[1]);
}

struct pair {
    int server, client;
};

static struct pair connect_loopback(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, 4) == 0 &&
              getsockname(listener, (struct sockaddr *)&a, &size) == 0);
    struct pair p = { .client = socket(AF_INET, SOCK_STREAM, 0) };
    cr_assert_eq(connect(p.client, (struct sockaddr *)&a, sizeof a), 0);
    p.server = accept(listener, NULL, NULL);
    cr_assert(p.server >= 0);
    (void)close(listener);
    return p;
}

/* Goal: the kernel names the owner of the other end of a loopback connection. */
Test(identity, loopback_connections)
{
    const struct pair p = connect_loopback();
    const struct identity who = identity_of(p.server);
    cr_assert(who.via == VIA_LOOPBACK && who.uid == getuid() && who.role == ROLE_ADMIN);
    (void)close(p.client);
    (void)close(p.server);
}

/* Goal: a closed peer, whose socket would read as uid 0, is nobody, and has no id that could be
 * taken for root's later. */
Test(identity, a_closed_peer_is_nobody)
{
    const struct pair p = connect_loopback();
    (void)close(p.client);
    (void)usleep(20000);
    const struct identity who = identity_of(p.server);
    cr_assert(who.role == ROLE_NOBODY && who.uid == IDENTITY_NO_UID, "uid %u", (unsigned)who.uid);
    (void)close(p.server);
}
