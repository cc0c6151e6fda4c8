/* merge_patch: see merge_patch.h. */
#include "server/api/merge_patch.h"

#include <stdbool.h>
#include <stddef.h>

static bool merge_member(cJSON *target, const cJSON *member)
{
    cJSON *old = cJSON_DetachItemFromObjectCaseSensitive(target, member->string);
    if (cJSON_IsNull(member)) {
        cJSON_Delete(old);
        return true;
    }
    cJSON *merged = merge_patch(old, member);
    if (merged != NULL && cJSON_AddItemToObject(target, member->string, merged)) return true;
    cJSON_Delete(merged);
    return false;
}

cJSON *merge_patch(cJSON *target, const cJSON *patch)
{
    if (!cJSON_IsObject(patch)) {
        cJSON_Delete(target);
        return cJSON_Duplicate(patch, true);
    }
    if (!cJSON_IsObject(target)) {
        cJSON_Delete(target);
        target = cJSON_CreateObject();
    }
    const cJSON *member;
    cJSON_ArrayForEach(member, patch) {
        if (target == NULL || merge_member(target, member)) continue;
        cJSON_Delete(target);
        return NULL;
    }
    return target;
}
