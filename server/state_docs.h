/* state_docs: the tables of the life cycle and of failures as Markdown, for docs/architecture.md.
 * Main thread. */
#ifndef SERVER_STATE_DOCS_H
#define SERVER_STATE_DOCS_H

#include <stdio.h>

void state_docs_print(FILE *out);
void failure_docs_print(FILE *out);

#endif
