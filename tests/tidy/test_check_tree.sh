#!/bin/sh
# Plants one fault of each kind into a copy of a tiny tree and sees that check_tree.sh finds it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed=0

fresh() {
    rm -rf "$root"/*
    mkdir -p "$root/common" "$root/worker/kernels" "$root/server/store"
    printf '/* a: something. */\nint a(void)\n{\n    return 1;\n}\n' >"$root/common/a.c"
}
expect() { # NAME EXIT
    sh "$here/check_tree.sh" "$root" >"$root/out" 2>&1
    got=$?
    if [ "$got" = "$2" ]; then echo "ok $1"; else echo "not ok $1: exit $got"; cat "$root/out"; failed=1; fi
}
plant() { fresh; printf '%s\n' "$3" >"$root/$2"; expect "$1" 1; }

fresh; expect clean 0
plant 'common includes worker' common/b.c '/* b: x. */
#include "worker/kernels/k.h"'
plant 'server includes worker' server/store/b.c '/* b: x. */
#include "worker/kernels/k.h"'
plant 'kernels include nets' worker/kernels/b.c '/* b: x. */
#include "worker/nets/net.h"'
plant 'banned call' common/b.c '/* b: x. */
void b(char *d) { strcpy(d, "x"); }'
plant 'malloc outside mem' common/b.c '/* b: x. */
void *b(void) { return malloc(3); }'
plant 'exit outside main' common/b.c '/* b: x. */
void b(void) { exit(1); }'
plant 'no opening comment' common/b.c 'int b;'
plant 'long line' common/b.c "/* b: $(printf '%0120d' 0) */"
plant 'tab' common/b.c "$(printf '/* b: x. */\n\tint b;')"
plant 'same name twice' worker/kernels/a.c '/* a: x. */'
fresh
{ printf '/* b: x. */\nint b(void)\n{\n'; i=0; while [ $i -lt 80 ]; do echo '    ;'; i=$((i + 1)); done; printf '}\n'; } >"$root/common/b.c"
expect 'long function' 1
rm -rf "$root"/*; expect 'nothing to check' 1
exit $failed
