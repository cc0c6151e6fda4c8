/* merge_patch: JSON merge patch (RFC 7396). Any thread. Written here because cJSON_Utils' patches
 * are not safe with text from outside. */
#ifndef SERVER_MERGE_PATCH_H
#define SERVER_MERGE_PATCH_H

#include <cjson/cJSON.h>

/* target with patch applied: members of objects are merged, null removes one, everything else is
 * replaced. Takes target over (NULL: nothing there); the caller owns the result.
 * NULL: out of memory. Depth is that of the patch: JSON_DEPTH_MAX when it was parsed. */
cJSON *merge_patch(cJSON *target, const cJSON *patch);

#endif
