#!/bin/bash
# Runs every fuzzer for FUZZ_SECONDS (default 10) from the seeds in tests/fuzz/corpus/NAME/.
# Prints `ok NAME N runs` for each; a finding prints the end of its log and exits 1.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-10}
build=${BUILD:-build}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

names=$(for source in tests/fuzz/fuzz_*.c; do basename "$source" .c; done)
make --no-print-directory fuzz-build >"$work/build.log" 2>&1 || { echo "FAIL fuzz-build"; tail -n 20 "$work/build.log"; exit 1; }

failed=0
for name in $names; do
    log=$work/$name.log
    if [ ! -x "$build/fuzz/$name" ]; then echo "FAIL $name: $build/fuzz/$name was not built"; failed=1; continue; fi
    # libFuzzer writes what it learns into the first folder, so it gets a copy.
    mkdir -p "$work/$name" "$work/found"
    [ ! -d "tests/fuzz/corpus/$name" ] || cp "tests/fuzz/corpus/$name"/* "$work/$name/"
    "$build/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$work/found/" "$work/$name" >"$log" 2>&1
    rc=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $rc = 0 ] && [ "${runs:-0}" -gt 0 ]; then
        echo "ok $name $runs runs"
    else
        echo "FAIL $name: exit $rc, ${runs:-0} runs"
        tail -n 40 "$log"
        for input in "$work"/found/*; do [ -f "$input" ] && { echo "input in base64:"; base64 "$input" | head -n 20; }; done
        failed=1
    fi
    rm -rf "$work/found"
done
exit $failed
