/* disk_floor: how much room is left where databases and files lie, and what that forbids. Looked at
 * in the pool every few seconds; the rest on the loop thread. */
#ifndef SERVER_DISK_FLOOR_H
#define SERVER_DISK_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

enum disk_room {
    DISK_ENOUGH,
    DISK_LOW, /* nothing new is taken or started */
    DISK_FULL /* nor points: workers keep them in their spools; states are written as always */
};
struct disk_look {
    uint64_t free_bytes, total_bytes;
};
struct disk_floor {
    struct disk_look state, files; /* of the folders' file systems; total 0 = not known */
    enum disk_room room;           /* of the worse */
    int64_t next_ms;               /* monotonic: of the next look */
    bool looking;
};
struct disk_look disk_look(const char *folder); /* any thread; blocks */
/* Percent of a file system below which it is low or full. */
enum disk_room disk_judge(const struct disk_floor *d, int64_t low_percent, int64_t full_percent);

#endif
