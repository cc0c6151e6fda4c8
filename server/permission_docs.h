/* permission_docs: who may do what, every route, as Markdown for docs/api.md. Main thread. */
#ifndef SERVER_PERMISSION_DOCS_H
#define SERVER_PERMISSION_DOCS_H

#include <stdio.h>

void permission_docs_print(FILE *out);

#endif
