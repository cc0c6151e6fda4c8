#!/bin/bash
# Runs test groups one after the other: all | check | prove | GROUP...
# Prints a line for each group with its time against its budget, the output of what failed, and last
# `N passed, N failed, N skipped`. A group that ran no test has failed. Logs: build/test-logs/.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=build/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
jobs=${JOBS:-2}
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1

# Counts of the group that is running; every group function sets them.
group_passed=0 group_failed=0 group_skipped=0

add() { group_passed=$((group_passed + $1)); group_failed=$((group_failed + $2)); group_skipped=$((group_skipped + ${3:-0})); }

# Criterion programs: one log each. A crash, a sanitizer report or a program without tests is a failure
# (Criterion itself exits 0 when a filter matches nothing and when a test leaks). Leaks of Criterion alone, some
# 48 bytes without a frame of ours, are not counted.
report='ERROR: (Address|Thread|Memory)Sanitizer|runtime error:|^ *#[0-9]+ .*(common|worker|server|tests)/[^ ]*\.[ch]:'
criterion() {
    local dir=$1 program log line tested crashed
    shift
    for program in $(find "$dir" -type f -perm -u+x -name 'test_*' 2>/dev/null | sort); do
        log=$logs/$(printf '%s' "${program#build/}" | tr / _).log
        "$program" -j"$jobs" "$@" >"$log" 2>&1
        local rc=$?
        line=$(grep -a 'Synthesis: Tested:' "$log" | tail -n 1)
        tested=$(printf '%s' "$line" | sed -n 's/.*Tested: \([0-9]*\).*/\1/p')
        crashed=$(printf '%s' "$line" | sed -n 's/.*Passing: \([0-9]*\).*/\1/p')
        local skip
        skip=$(grep -ac '^SKIPPED ' "$log")
        if [ -z "$tested" ] || [ "$tested" = 0 ]; then
            add 0 1; echo "    $program: ran no test"; tail -n 5 "$log" | sed 's/^/      /'
        elif grep -aqE "$report" "$log"; then
            add "$crashed" 1 "$skip"; echo "    $program: sanitizer report"; grep -aE -B8 "$report" "$log" | head -n 30 | sed 's/^/      /'
        else
            add $((crashed - skip)) $((tested - crashed)) "$skip"
            if [ "$tested" != "$crashed" ] || [ $rc != 0 ]; then
                [ "$tested" = "$crashed" ] && add 0 1
                grep -aE '^\[(----|FAIL|CRASH)|FAIL|Assertion|CRASH' "$log" | head -n 40 | sed 's/^/      /'
            fi
            grep -a '^SKIPPED ' "$log" | sort -u | sed 's/^/    /'
        fi
    done
}

build_group() { make --no-print-directory -j"$jobs" all units stories >"$logs/build.log" 2>&1 && add 1 0 || { add 0 1; grep -aE 'error|Error' "$logs/build.log" | head -n 20; }; }
tidy_group() {
    sh tests/tidy/check_tree.sh >"$logs/tidy.log" 2>&1 && add 1 0 || { add 0 1; tail -n 30 "$logs/tidy.log"; }
    sh tests/tidy/test_check_tree.sh >"$logs/tidy-self.log" 2>&1 && add 1 0 || { add 0 1; tail -n 30 "$logs/tidy-self.log"; }
    sh tests/peers/test_compare_table.sh >"$logs/compare-table.log" 2>&1 && add 1 0 || { add 0 1; grep -A3 '^not ok' "$logs/compare-table.log"; }
}
unit_group() { criterion build/tests/unit; }
# Two of the deliberate sign errors of tests/mutations.txt; `make prove` puts all of them in.
mutation_group() {
    bash tests/mutations.sh 22 2 >"$logs/mutation.log" 2>&1
    local rc=$? good bad
    good=$(grep -c '^ok' "$logs/mutation.log") bad=$(grep -c '^FAIL' "$logs/mutation.log")
    [ $rc != 0 ] && [ "$bad" = 0 ] && bad=1
    add "$good" "$bad"
    [ "$bad" = 0 ] || tail -n 10 "$logs/mutation.log" | sed 's/^/      /'
}
story_group() {
    criterion build/tests/integration
    # Workers outlive their daemon; those of a story that failed would train on.
    local pid
    for pid in $(pgrep -x spiked-worker); do
        grep -qza '/tmp/spiked-story' "/proc/$pid/environ" 2>/dev/null && kill -9 "$pid"
    done
}

# The load table with less of everything, the soak for some seconds: what is lost, doubled or broken, and
# speeds that any machine has. `make load` and `make soak` are the real ones.
load_group() {
    local log
    criterion build/load
    for log in "$logs"/load_test_load.log "$logs"/load_test_soak.log; do grep -aE '^\||^soak: memory' "$log" | sed 's/^/    /'; done
}

# Families of a run that passed less or were refused more than tests/golden/expected.txt says.
golden_short() {
    awk -v mode="$1" '
        NR == FNR { if ($1 == mode) { least[$2] = $3; most[$2] = $4 } next }
        NF == 5 && $1 in least { seen[$1] = 1; if ($2 < least[$1] || $4 > most[$1]) print $1 ": " $2 " passed of " least[$1] ", " $4 " refused of at most " most[$1] }
        END { for (f in least) { known = 1; if (!(f in seen)) print f ": did not run" } if (!known) print "nothing is expected of mode " mode }' tests/golden/expected.txt "$2"
}

# One run of check-golden: a row of the matrix. What is refused by design has not passed.
golden_row() { printf '    %-8s %7s  %-9s %-9s %7s %8s %7s  %s\n' "$@" | sed 's/ *$//'; }
golden_run() {
    local isa=$1 threads=$2 mode=$3 path=$4 good bad refused short
    local log=$logs/golden-$isa-$threads-${mode/:/}-$path.log
    SPIKED_ISA=$isa build/spiked-worker check-golden "$SPIKED_TEST_GOLDEN" --threads "$threads" --step-mode "$mode" --path "$path" >"$log" 2>"$log.err"
    if grep -q 'this build has no such kernel' "$log.err"; then
        golden_row "$isa" "$threads" "$mode" "$path" 0 all 0 'this build has no such kernel'
        return
    fi
    read -r good bad refused < <(sed -n 's/^all  *//p' "$log")
    case $mode in stream*) short=$(golden_short stream "$log") ;; *) short=$(golden_short train "$log") ;; esac
    [ -z "$short" ] || { bad=$((${bad:-0} + $(wc -l <<<"$short"))); head -n 3 "$log.err"; }
    golden_row "$isa" "$threads" "$mode" "$path" "${good:-0}" "${refused:-0}" "${bad:-0}" ''
    [ -z "$short" ] || sed 's/^/      /' <<<"$short"
    grep '^FAIL' "$log" | head -n 10 | sed 's/^/      /'
    golden_runs=$((golden_runs + 1)) golden_refused=$((golden_refused + ${refused:-0}))
    add "${good:-0}" "${bad:-0}"
}

# The matrix: instruction sets x threads x step modes x paths; with SPIKED_PROVE=1 every cell. Else threads
# and paths on the best instruction set only: they drive the kernels of the others the same way.
golden_group() {
    if [ -z "${SPIKED_TEST_GOLDEN:-}" ]; then add 0 0 1; echo "    SKIPPED golden: no golden folder (SPIKED_TEST_GOLDEN)"; return; fi
    local isas best isa threads mode path
    golden_runs=0 golden_refused=0
    isas=$(build/spiked-worker isas)
    best=$(printf '%s\n' "$isas" | tail -n 1)
    rm -f "$logs"/golden-*.log
    golden_row isa threads 'step mode' path passed refused failed ''
    for isa in $isas; do
        for mode in multi single chunk:3 stream stream:3; do
            if [ "${SPIKED_PROVE:-0}" = 1 ]; then
                for threads in 1 2 3 8; do for path in auto dense event winograd; do golden_run "$isa" "$threads" "$mode" "$path"; done; done
            elif [ "$isa" != "$best" ]; then golden_run "$isa" 2 "$mode" auto
            else
                for threads in 1 2 3; do golden_run "$isa" "$threads" "$mode" auto; done
                for path in dense event winograd; do golden_run "$isa" 2 "$mode" "$path"; done
            fi
        done
    done
    printf '    %s runs: %s passed, %s refused by design, %s failed on %s\n' "$golden_runs" "$group_passed" "$golden_refused" "$group_failed" "$(echo $isas)"
    echo "    refused of each run in step mode stream:"
    sed -n 's/^refused \([a-z]*\)  *\([0-9]*\) /      \1, \2 cases: /p' "$logs/golden-$best-1-stream-auto.log"
    golden_kernels
}

# What the runs reached, and what has its twin test only. A kernel that is not in the table is a fault.
golden_kernels() {
    cat "$logs"/golden-*.log | sed -n 's/^kernel \([^ ]*\) .*/\1/p' | sort -u >"$logs/golden-seen.txt"
    grep -v '^#' tests/golden/kernels.txt | cut -d' ' -f1 | sort >"$logs/golden-known.txt"
    echo "    kernels seen: $(tr '\n' ' ' <"$logs/golden-seen.txt")"
    echo "    reached by no case, held against their twins in unit tests (tests/golden/kernels.txt): $(comm -13 "$logs/golden-seen.txt" "$logs/golden-known.txt" | tr '\n' ' ')"
    local strange
    strange=$(comm -23 "$logs/golden-seen.txt" "$logs/golden-known.txt")
    if [ -n "$strange" ] || ! [ -s "$logs/golden-seen.txt" ]; then add 0 1; echo "    kernels that no table has: $strange"; else add 1 0; fi
}
# Scripts that print ok, FAIL and SKIPPED, a line a test; NAME of the log, COMMAND...
script_lines() {
    local log=$logs/$1.log rc bad
    shift
    "$@" >"$log" 2>&1
    rc=$?
    bad=$(grep -c '^FAIL' "$log")
    [ $rc != 0 ] && [ "$bad" = 0 ] && { bad=1; tail -n 5 "$log" | sed 's/^/      /'; }
    add "$(grep -c '^ok' "$log")" "$bad" "$(grep -c '^SKIPPED' "$log")"
    grep -E '^(FAIL|SKIPPED)|Better:' "$log" | sed 's/^/    /'
}
instructions_group() { script_lines instructions bash bench/instructions.sh check; }
bits_group() { script_lines bits bash tests/bits.sh; }
# Weights to PyTorch and back, where Debian's python3-torch is installed (sh deploy/setup.sh peer).
peer_group() {
    local python=${SPIKED_PYTHON:-/usr/bin/python3}
    if ! "$python" -c 'import torch' 2>/dev/null; then add 0 0 1; echo "    SKIPPED peer: no python3-torch (sh deploy/setup.sh peer)"; return; fi
    "$python" tests/peers/torch_round_trip.py build/spiked-worker >"$logs/peer.log" 2>&1
    local rc=$? bad
    bad=$(grep -c '^FAIL' "$logs/peer.log")
    [ $rc != 0 ] && [ "$bad" = 0 ] && bad=1
    add "$(grep -c '^ok' "$logs/peer.log")" "$bad" "$(grep -c '^SKIPPED' "$logs/peer.log")"
    grep '^SKIPPED' "$logs/peer.log" | sed 's/^/    /'
    [ "$bad" = 0 ] || grep -v '^ok' "$logs/peer.log" | tail -n 30 | sed 's/^/      /'
}
browser_group() {
    bash tests/browser/run.sh >"$logs/browser.log" 2>&1
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$logs/browser.log" | tail -n 1)
    if [ -z "$line" ]; then add 0 1; tail -n 20 "$logs/browser.log"; return; fi
    add "$(printf '%s' "$line" | cut -d' ' -f1)" "$(printf '%s' "$line" | sed 's/.*passed, \([0-9]*\).*/\1/')"
    [ "$(printf '%s' "$line" | sed 's/.*passed, \([0-9]*\).*/\1/')" = 0 ] || grep -E -B2 -A8 'not ok|FAIL|Error' "$logs/browser.log" | head -n 60
}
# The loops of an instruction set compile three times as fast without the checks of each access that the
# address sanitizer makes as well; sums, shifts and array bounds stay checked.
sanitizer_group() {
    make --no-print-directory -j"$jobs" BUILD=build/asan KERNEL_OPT='-g1 -fno-sanitize=null,object-size,pointer-overflow,alignment' CFLAGS='-O1 -g -fno-omit-frame-pointer' SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined' all units >"$logs/asan-build.log" 2>&1 || { add 0 1; grep -aE 'error' "$logs/asan-build.log" | head; return; }
    # The planted fault must be seen, or this group proves nothing.
    if build/asan/tests/unit/common/test_planted --filter='*/*' -j1 >"$logs/asan-planted.log" 2>&1 && ! grep -q 'ERROR: .*Sanitizer' "$logs/asan-planted.log"; then add 0 1; echo "    the planted fault was not seen"; else add 1 0; fi
    rm -f build/asan/tests/unit/common/test_planted
    SPIKED_SANITIZED=1 ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=exitcode=0 criterion build/asan/tests/unit
    # Whole sanitized programs, driven by the stories; their reports go to files, which must not come to be.
    rm -f "$logs"/asan-program.*
    local story
    for story in errors training stopping faults queue clone aborts tls people sessions permissions; do
        SPIKED_ABORTS=10000 SPIKED_PROGRAM=build/asan/spiked ASAN_OPTIONS=detect_leaks=1:log_path=$PWD/$logs/asan-program criterion "build/tests/integration/test_$story"
    done
    if ls "$logs"/asan-program.* >/dev/null 2>&1; then add 0 1; head -n 25 "$logs"/asan-program.* | sed 's/^/      /'; else add 1 0; fi
}
fuzz_group() { FUZZ_SECONDS=${FUZZ_SECONDS:-5} bash tests/fuzz/run.sh >"$logs/fuzz.log" 2>&1; local rc=$?; local n; n=$(grep -c '^ok ' "$logs/fuzz.log"); if [ $rc = 0 ] && [ "$n" -gt 0 ]; then add "$n" 0; else add "$n" 1; tail -n 30 "$logs/fuzz.log"; fi; }
prove_group() { bash tests/prove.sh 2>&1 | tee "$logs/prove.log"; local rc=$?; [ $rc = 0 ] && add 1 0 || add 0 1; }

run_group() {
    local name=$1 budget=$2 start=$SECONDS
    group_passed=0 group_failed=0 group_skipped=0
    echo "== $name"
    "${name}_group"
    [ $((group_passed + group_failed + group_skipped)) = 0 ] && { echo "    ran no test"; group_failed=1; }
    printf '   %s: %d passed, %d failed, %d skipped in %.1f of %s minutes\n' "$name" "$group_passed" "$group_failed" "$group_skipped" "$(echo "$((SECONDS - start))" | awk '{print $1/60}')" "$budget"
    passed=$((passed + group_passed)); failed=$((failed + group_failed)); skipped=$((skipped + group_skipped))
}

case ${1:-all} in
all) groups='build:12 tidy:1 unit:4 mutation:1 golden:2 instructions:1 bits:1 story:6 load:2 peer:1 browser:5 sanitizer:5 fuzz:3' ;;
check) groups='build:13 tidy:1 unit:4' ;;
prove) groups='build:13 prove:75' ;;
*) groups=$(for g in "$@"; do printf '%s:- ' "$g"; done) ;;
esac
for g in $groups; do
    run_group "${g%%:*}" "${g##*:}"
    if [ "${g%%:*}" = build ] && [ "$group_failed" != 0 ]; then break; fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
