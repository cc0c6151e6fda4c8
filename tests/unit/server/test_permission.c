/* The table of permissions: what must hold of every cell, and that every route is in it. */
#include "server/api/api.h"

#include <criterion/criterion.h>
#include <string.h>

static bool may(enum access a, int role, enum ownership o)
{
    return permission_of(a, (enum identity_role)role, o) == PERMITTED;
}

/* Goal: a refusal is one of three statuses, a higher role may what a lower one may, and nobody may
 * more with another's object than with an own one. */
Test(permission, every_cell_is_sound)
{
    for (int a = ACCESS_UNDECIDED; a < ACCESS_COUNT; a++) {
        for (int role = ROLE_NOBODY; role < ROLE_COUNT; role++) {
            for (int owner = OWNER_NONE; owner < OWNER_COUNT; owner++) {
                const enum access access = (enum access)a;
                const enum ownership o = (enum ownership)owner;
                const int status = permission_of(access, (enum identity_role)role, o);
                cr_expect(status == PERMITTED || status == 401 || status == 403 || status == 404);
                cr_expect((status == 401) ==
                              (role == ROLE_NOBODY && a > ACCESS_OPEN && a < ACCESS_WORKER),
                          "%d %d %d", a, role, owner);
                if (role > ROLE_NOBODY && may(access, role - 1, o))
                    cr_expect(may(access, role, o), "%d %d %d", a, role, owner);
                if (may(access, role, OWNER_OTHER)) cr_expect(may(access, role, OWNER_SELF));
            }
        }
    }
}

/* Goal: no route is undecided, and what changes something needs more than being signed in. */
Test(permission, every_route_is_decided)
{
    cr_assert_gt(api_routes_count, 40);
    for (size_t i = 0; i < api_routes_count; i++) {
        const struct http_route *r = &api_routes[i];
        const bool login = strcmp(r->pattern, "/api/v1/sessions") == 0;
        cr_expect(r->access > ACCESS_UNDECIDED && r->access < ACCESS_COUNT, "%s %s", r->method,
                  r->pattern);
        cr_expect((r->access == ACCESS_WORKER) == (strncmp(r->pattern, "/worker/", 8) == 0), "%s",
                  r->pattern);
        if (strcmp(r->method, "GET") != 0 && !login)
            cr_expect(r->access != ACCESS_OPEN && r->access != ACCESS_READ, "%s %s", r->method,
                      r->pattern);
        if (r->access == ACCESS_CHANGE || r->access == ACCESS_PRIVATE)
            cr_expect(strstr(r->pattern, "{}") != NULL && r->object != OBJECT_NONE, "%s",
                      r->pattern);
    }
}
