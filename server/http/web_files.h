/* web_files: the built page, compiled in by deploy/build. */
#ifndef SERVER_WEB_FILES_H
#define SERVER_WEB_FILES_H

#include <stddef.h>

struct web_file {
    const char *path;         /* "/app.js" */
    const char *content_type;
    const unsigned char *data;
    size_t length;
    const char *etag;         /* quoted, of the content */
};
extern const struct web_file web_files[];
extern const size_t web_files_count;

#endif
