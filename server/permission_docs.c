/* permission_docs: see permission_docs.h. Asks permission_of about every cell. */
#include "server/permission_docs.h"

#include "server/api/api.h"

static void print_cell(FILE *out, enum access access, enum identity_role role, enum ownership owner)
{
    const int status = permission_of(access, role, owner);
    if (status == PERMITTED) (void)fprintf(out, " yes |");
    else (void)fprintf(out, " %d |", status);
}

void permission_docs_print(FILE *out)
{
    (void)fprintf(out, "| request | nobody | viewer: own | viewer: other's | user: own |"
                       " user: other's | admin |\n|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < api_routes_count; i++) {
        const struct http_route *r = &api_routes[i];
        (void)fprintf(out, "| `%s %s` |", r->method, r->pattern);
        print_cell(out, r->access, ROLE_NOBODY, OWNER_OTHER);
        for (int role = ROLE_VIEWER; role <= ROLE_USER; role++)
            for (int owner = OWNER_SELF; owner <= OWNER_OTHER; owner++)
                print_cell(out, r->access, (enum identity_role)role, (enum ownership)owner);
        print_cell(out, r->access, ROLE_ADMIN, OWNER_OTHER);
        (void)fprintf(out, "\n");
    }
}
