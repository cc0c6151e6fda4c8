/* permission: see permission.h. */
#include "server/auth/permission.h"

#define YES PERMITTED
#define ALL(status)            \
    {                          \
        status, status, status \
    }

/* access x role x {of nobody, own, somebody else's} */
static const int table[ACCESS_COUNT][ROLE_COUNT][OWNER_COUNT] = {
    [ACCESS_UNDECIDED] = { ALL(403), ALL(403), ALL(403), ALL(403) },
    [ACCESS_OPEN] = { ALL(YES), ALL(YES), ALL(YES), ALL(YES) },
    [ACCESS_READ] = { ALL(401), ALL(YES), ALL(YES), ALL(YES) },
    [ACCESS_BEGIN] = { ALL(401), ALL(403), ALL(YES), ALL(YES) },
    [ACCESS_CHANGE] = { ALL(401), ALL(403), { YES, YES, 403 }, ALL(YES) },
    [ACCESS_SELF] = { ALL(401), ALL(YES), ALL(YES), ALL(YES) },
    [ACCESS_PRIVATE] = { ALL(401), { YES, YES, 404 }, { YES, YES, 404 }, ALL(YES) },
    [ACCESS_ADMIN] = { ALL(401), ALL(403), ALL(403), ALL(YES) },
    [ACCESS_WORKER] = { ALL(404), ALL(404), ALL(404), ALL(404) },
};

int permission_of(enum access access, enum identity_role role, enum ownership owner)
{
    return table[access][role][owner];
}
