/* judge: the command line. See judge.h. */
#include "tests/chaos/judge.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "watch") == 0) return judge_watch(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "collect") == 0) return judge_collect(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "verdict") == 0)
        return judge_verdict(argv[2], argv[3], argv[4]);
    (void)fputs("usage: judge watch STATE_DIR LOG\n"
                "       judge collect http://HOST:PORT EVIDENCE\n"
                "       judge verdict EVIDENCE FILES_DIR UNDISTURBED\n",
                stderr);
    return 2;
}
