#!/bin/bash
# Same bits everywhere: hashes of what kernels and neurons compute (tests/bits/), by portable code here against
# the other instruction sets of this CPU and against portable code for aarch64 under qemu.
# Prints ok, FAIL or SKIPPED, a line a comparison.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=build/test-logs
mkdir -p "$logs"
jobs=${JOBS:-2}
failed=0
fail() { echo "FAIL $*"; failed=1; }

run() { # NAME COMMAND...: the lines of that program in $logs/bits-NAME.txt; says when it did not do
    local name=$1 out=$logs/bits-$1.txt
    shift
    if ! "$@" >"$out" 2>"$out.err"; then fail "bits $name: $(tail -n 3 "$out.err" | tr '\n' ' ')"; return 1; fi
    if grep -q ' ZERO$' "$out"; then fail "bits $name: computes nothing: $(grep -m1 ' ZERO$' "$out")"; return 1; fi
}
compare() { # NAME: with portable code here
    local bad
    bad=$(diff "$logs/bits-generic.txt" "$logs/bits-$1.txt" | grep -c '^<')
    if [ "$(wc -l <"$logs/bits-$1.txt")" -lt 500 ]; then fail "bits $1: fewer than 500 results"
    elif ! cmp -s "$logs/bits-generic.txt" "$logs/bits-$1.txt"; then
        fail "bits $1: $bad results differ from portable code here, first: $(diff "$logs/bits-generic.txt" "$logs/bits-$1.txt" | grep -m1 '^[<>]')"
    else echo "ok bits $1: $(wc -l <"$logs/bits-$1.txt") results as portable code here"; fi
}

if ! make --no-print-directory -j"$jobs" build/bits build/spiked-worker >"$logs/bits-build.log" 2>&1; then
    fail "bits: build: $(grep -m3 -i error "$logs/bits-build.log")"
    exit 1
fi
SPIKED_ISA=generic run generic build/bits || exit 1
for isa in $(build/spiked-worker isas); do
    [ "$isa" = generic ] || { SPIKED_ISA=$isa run "$isa" build/bits && compare "$isa"; }
done

if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null ||
    [ ! -e /usr/aarch64-linux-gnu/lib/libc.a ]; then
    echo "SKIPPED bits aarch64: no cross compiler or no qemu-aarch64 (sh deploy/setup.sh aarch64)"
    exit $failed
fi
# Headers of libraries are the same on every machine; -idirafter: the C library's own come first.
if make --no-print-directory -j"$jobs" CROSS=1 BUILD=build/aarch64 CC=aarch64-linux-gnu-gcc MACHINE=aarch64 KERNEL_OPT= \
    CFLAGS='-O2 -ffunction-sections -fdata-sections -idirafter /usr/include' build/aarch64/bits >"$logs/bits-aarch64-build.log" 2>&1; then
    run aarch64 qemu-aarch64 build/aarch64/bits && compare aarch64
else
    fail "bits aarch64: build: $(grep -m3 -i error "$logs/bits-aarch64-build.log")"
fi
exit $failed
