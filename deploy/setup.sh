#!/bin/sh
# Installs what is missing of deploy/packages.txt. usage: deploy/setup.sh [GROUP...]
# Quick when there is nothing to do; needs root or sudo only when something is missing.
set -eu
cd "$(dirname "$0")/.."
groups=${*:-build run test}

wanted=''
while read -r group package only; do
    case " $groups " in *" $group "*) ;; *) continue ;; esac
    if [ -n "$only" ] && command -v "${only#!}" >/dev/null 2>&1; then continue; fi
    wanted="$wanted $package"
done <<LIST
$(grep -v '^#' deploy/packages.txt)
LIST

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: not a Debian system; these packages are needed:$wanted" >&2
    exit 0
fi
missing=''
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || printf missing)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=''
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "setup: please install as root: apt-get install$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "setup: installing$missing"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
apt() {
    # shellcheck disable=SC2086
    $as_root apt-get update -q >"$log" 2>&1 &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $missing >>"$log" 2>&1
}
if ! apt && ! { sleep 5; apt; }; then
    tail -n 20 "$log" >&2
    echo "setup: apt-get failed; the log is $log" >&2
    exit 1
fi
rm -f "$log"
