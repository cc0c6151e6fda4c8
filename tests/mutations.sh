#!/bin/bash
# Puts one deliberate error after the other (tests/mutations.txt) into a copy of the tree and asks whether the
# test named beside it fails. Prints a line each and last `N of N seen`; ends with 1 when one is not.
# usage: tests/mutations.sh [FIRST [COUNT]]   (a part of the table; all by default)
set -uo pipefail
cd "$(dirname "$0")/.."
first=${1:-1} count=${2:-1000000}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
jobs=${JOBS:-2}

# Sources keep their times, so that make takes the objects for what they are.
tar cf - --exclude=./build/tests --exclude=./build/test-logs --exclude=./build/asan --exclude=./build/fuzz \
    --exclude=./web/node_modules --exclude=./.git --exclude=./data . | tar xf - -C "$copy"
mkdir -p "$copy/web/node_modules" && touch "$copy/web/node_modules/.stamp"
cd "$copy" || exit 1

trim() { sed 's/^ *//; s/ *$//'; }
# Replaces the first occurrence of a text, which may have lines (\n); 1 when it is not there.
put() {
    FROM=$2 TO=$3 perl -0pi -e 'BEGIN { for (qw(FROM TO)) { $ENV{$_} =~ s/\\n/\n/g } } s/\Q$ENV{FROM}\E/$ENV{TO}/ or exit 9' "$1" &&
        ! cmp -s "$1" "$1.whole"
}
# Whether the test fails by an assertion: what does not compile has shown nothing.
seen() {
    if ! make --no-print-directory -j"$jobs" "build/tests/unit/$1" >make.log 2>&1; then tail -n 3 make.log; return 1; fi
    ! "build/tests/unit/$1" -j"$jobs" --verbose=0 >test.log 2>&1 && grep -q 'Failing: [1-9]\|Crashing: [1-9]' test.log
}

total=0 found=0 at=0
while IFS='|' read -r test file from to; do
    case $test in '#'* | '') continue ;; esac
    at=$((at + 1))
    [ "$at" -ge "$first" ] && [ "$at" -lt $((first + count)) ] || continue
    test=$(trim <<<"$test") file=$(trim <<<"$file") from=$(trim <<<"$from") to=$(trim <<<"$to")
    total=$((total + 1))
    cp -p "$file" "$file.whole"
    if ! put "$file" "$from" "$to"; then echo "FAIL $file: the text is not there: $from"
    elif seen "$test"; then found=$((found + 1)); echo "ok   $file: $test sees it: $to"
    else echo "FAIL $file: $test does not see it: $to"; fi
    cat "$file.whole" >"$file"
    rm "$file.whole"
done <tests/mutations.txt
echo "$found of $total seen"
[ "$total" -gt 0 ] && [ "$found" = "$total" ]
