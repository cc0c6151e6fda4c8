/* state_docs: the life-cycle table as Markdown, for docs/architecture.md. Main thread. */
#ifndef SERVER_STATE_DOCS_H
#define SERVER_STATE_DOCS_H

#include <stdio.h>

void state_docs_print(FILE *out);

#endif
