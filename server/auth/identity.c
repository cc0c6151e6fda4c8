/* identity: see identity.h. */
#include "server/auth/identity.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define UID_FIRST_PERSON 1000
#define UID_NOBODY 65534

static const char *const role_names[ROLE_COUNT] = { "nobody", "viewer", "user", "admin" };

const char *identity_role_name(enum identity_role role) { return role_names[role]; }

bool identity_role_from_name(const char *name, enum identity_role *out)
{
    for (int i = ROLE_VIEWER; i < ROLE_COUNT; i++) {
        if (strcmp(name, role_names[i]) != 0) continue;
        *out = (enum identity_role)i;
        return true;
    }
    return false;
}

const char *identity_via_name(enum identity_via via)
{
    return via == VIA_SOCKET ? "socket" : via == VIA_LOOPBACK ? "loopback" : "network";
}

const char *identity_by_name(enum identity_by by)
{
    return by == BY_TOKEN ? "token" : by == BY_SESSION ? "session" : "peer";
}

enum identity_role identity_role_of(uid_t uid, uid_t own)
{
    if (uid == 0 || uid == own) return ROLE_ADMIN;
    return uid >= UID_FIRST_PERSON && uid != UID_NOBODY ? ROLE_USER : ROLE_NOBODY;
}

static void name_user(struct identity *who)
{
    struct passwd pw, *found = NULL;
    char buf[2048];
    if (getpwuid_r(who->uid, &pw, buf, sizeof buf, &found) == 0 && found != NULL)
        (void)snprintf(who->user, sizeof who->user, "%s", found->pw_name);
    else (void)snprintf(who->user, sizeof who->user, "uid%u", (unsigned)who->uid);
}

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    if (a->ss_family != AF_INET6) return false;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six);
}

/* The question: the socket whose local end is our peer and whose remote end is ours. */
struct diag_question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 req;
};

static void fill_ends(struct inet_diag_req_v2 *q, const struct sockaddr_storage *peer,
                      const struct sockaddr_storage *ours)
{
    q->sdiag_family = (uint8_t)peer->ss_family;
    q->sdiag_protocol = IPPROTO_TCP;
    q->idiag_states = ~0U;
    q->id.idiag_cookie[0] = q->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)peer, *b = (const void *)ours;
        q->id.idiag_sport = a->sin_port;
        q->id.idiag_dport = b->sin_port;
        q->id.idiag_src[0] = a->sin_addr.s_addr;
        q->id.idiag_dst[0] = b->sin_addr.s_addr;
        return;
    }
    const struct sockaddr_in6 *a = (const void *)peer, *b = (const void *)ours;
    q->id.idiag_sport = a->sin6_port;
    q->id.idiag_dport = b->sin6_port;
    memcpy(q->id.idiag_src, &a->sin6_addr, sizeof a->sin6_addr);
    memcpy(q->id.idiag_dst, &b->sin6_addr, sizeof b->sin6_addr);
}

/* Owner of the peer's socket. A closed socket reads as uid 0, so only an established one with an
 * inode is believed. */
static bool peer_uid(const struct sockaddr_storage *peer, const struct sockaddr_storage *ours,
                     uid_t *uid)
{
    const int nl = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (nl < 0) return false;
    const struct timeval patience = { .tv_usec = 200000 };
    (void)setsockopt(nl, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct diag_question q = { .head = { .nlmsg_len = sizeof q, .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                         .nlmsg_flags = NLM_F_REQUEST } };
    fill_ends(&q.req, peer, ours);
    union {
        struct nlmsghdr head;
        char bytes[8192];
    } answer;
    bool known = false;
    if (send(nl, &q, sizeof q, 0) == (ssize_t)sizeof q) {
        const ssize_t n = recv(nl, &answer, sizeof answer, 0);
        if (n > 0 && NLMSG_OK(&answer.head, (size_t)n) &&
            answer.head.nlmsg_type == SOCK_DIAG_BY_FAMILY &&
            answer.head.nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg))) {
            const struct inet_diag_msg *m = NLMSG_DATA(&answer.head);
            known = m->idiag_state == TCP_ESTABLISHED && m->idiag_inode != 0;
            *uid = m->idiag_uid;
        }
    }
    (void)close(nl);
    return known;
}

struct identity identity_of(int fd)
{
    struct identity who = { .role = ROLE_NOBODY, .via = VIA_NETWORK, .uid = IDENTITY_NO_UID };
    struct sockaddr_storage peer = { 0 }, ours = { 0 };
    socklen_t peer_size = sizeof peer, our_size = sizeof ours;
    if (getsockname(fd, (struct sockaddr *)&ours, &our_size) != 0) return who;
    if (ours.ss_family == AF_UNIX) {
        struct ucred cred;
        socklen_t size = sizeof cred;
        who.via = VIA_SOCKET;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0) return who;
        who.uid = cred.uid;
    } else {
        if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0) return who;
        if (!is_loopback(&peer) || !is_loopback(&ours)) return who;
        who.via = VIA_LOOPBACK;
        uid_t
            uid; /* what is not believed must reach nobody: that of a closed socket reads as root */
        if (!peer_uid(&peer, &ours, &uid)) return who;
        who.uid = uid;
    }
    who.role = identity_role_of(who.uid, geteuid());
    name_user(&who);
    return who;
}
