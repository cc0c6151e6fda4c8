/* folder_size: bytes of the files of an experiment. Any thread; blocks on the disk. */
#ifndef SERVER_FOLDER_SIZE_H
#define SERVER_FOLDER_SIZE_H

#include <stdint.h>

/* Of the files in it and in its folders; no link is followed; 0 when it is not there. A checkpoint
 * that several attempts share (hard links) counts once. */
int64_t folder_size(const char *path);

#endif
