#!/bin/bash
# The long proofs. Prints lines for the table of docs/proofs.md; ends with 1 when one of them fails.
# Each has a one-minute version in `make test`.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
port=${PROVE_PORT:-18093}
base=http://127.0.0.1:$port
folder=$(mktemp -d)
trap 'kill "${daemon:-0}" 2>/dev/null; rm -rf "$folder"' EXIT

row() { printf '| %s | %s | %s | %s | %s |\n' "$(date -u +%F)" "$(git describe --always --dirty 2>/dev/null)" "$(machine)" "$1" "$2"; }
fault() { failed=$((failed + 1)); row "$1" "**failed**: $2"; }
machine() { printf '%s with %s, %s cores' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(build/spiked-worker isas | tail -n 1)" "$(nproc)"; }

# A sign error in each family of kernels (tests/mutations.txt) must be seen.
mutations() {
    local log=$folder/mutations.log
    if bash tests/mutations.sh >"$log" 2>&1; then row 'deliberate sign errors in the kernels, each seen by its test' "$(tail -n 1 "$log")"
    else fault 'deliberate sign errors' "$(grep '^FAIL' "$log" | head -n 3 | tr '\n' ' ')"; fi
}

campaign() {
    local log=$folder/campaign.log what='fault campaign (`make chaos`): crash points, kill -9, lost answers, full disk, clock jumps'
    if CHAOS_ROUNDS=${ROUNDS:-200} build/tests/integration/test_chaos >"$log" 2>&1; then
        row "$what" "$(tail -n 1 <<<"$(grep '^chaos: ' "$log")"); $(awk '/^judged /{n += $2; p += $8; w += $10; f += $(NF - 1)} END{printf "%d experiments, %d points and %d weight files judged, %d faults", n, p, w, f}' "$log")"
    else fault "$what" "$(grep -a '^fault ' "$log" | head -n 3 | tr '\n' ' ')$(tail -n 3 "$log" | tr '\n' ' ')"; fi
}

# The two stages of the numerical proof (tests/twin): slopes and engine, every parameter and thread count.
gradients() {
    local log=$folder/gradients.log program bad=0
    for program in layers neurons models blocks recurrent presets; do
        SPIKED_PROVE=1 "build/tests/unit/twin/test_twin_$program" >>"$log" 2>&1 || bad=1
    done
    if [ $bad = 0 ] && grep -q '^slopes ' "$log" && grep -q '^engine ' "$log"; then
        row 'gradients of the double twin against finite differences, relative' \
            "$(awk '/^slopes /{n += $4; if ($2 > w) w = $2} END{printf "%d slopes, worst %.1e", n, w}' "$log")"
        row 'engine against the double twin, every instruction set, 1, 2, 3 and 8 threads' \
            "$(awk '/^engine /{n += $4; if ($2 > w) w = $2} END{printf "%d tensors, worst error %.2f of its limit", n, w}' "$log")"
    else fault 'gradients' "$(grep -a 'limits at\|Assertion\|FAIL' "$log" | head -n 3 | tr '\n' ' ')"; fi
}

# Every cell of the golden matrix: instruction sets, threads, step modes, paths.
golden() {
    local log=$folder/golden.log what='golden cases: instruction sets x 1, 2, 3 and 8 threads x step modes x paths'
    if [ -z "${SPIKED_TEST_GOLDEN:-}" ]; then row "$what" 'skipped: SPIKED_TEST_GOLDEN names no folder'; return; fi
    if SPIKED_PROVE=1 bash tests/run.sh golden >"$log" 2>&1; then
        row "$what" "$(sed -n 's/^ *\([0-9]* runs: .*\)/\1/p' "$log")"
    else fault "$what" "$(awk 'NF >= 7 && $7 + 0 > 0' "$log" | head -n 3 | tr -s '\n ' ' ')"; fi
}

presets() {
    local log=$folder/presets.log line
    SPIKED_PRESETS=full build/tests/integration/test_preset_memory >"$log" 2>&1 || fault 'memory of presets' "$(grep -a planned "$log" | tail -n 1)"
    while IFS= read -r line; do row "memory: ${line%%: *}" "${line#*: }"; done < <(sed -n 's/^memory: //p' "$log")
}

# The networks of SpikingJelly, too, where SPIKINGJELLY_DIR names a checkout of 0.0.0.0.14.
peer() {
    local log=$folder/peer.log
    if "${SPIKED_PYTHON:-/usr/bin/python3}" -c 'import torch' 2>/dev/null; then
        if "${SPIKED_PYTHON:-/usr/bin/python3}" tests/peers/torch_round_trip.py build/spiked-worker >"$log" 2>&1; then
            row 'weights to PyTorch and back by name, same outputs' "$(grep -c '^ok' "$log") of $(grep -cE '^(ok|FAIL)' "$log"), $(grep -c '^SKIPPED' "$log") skipped"
        else fault 'weights to PyTorch and back' "$(grep '^FAIL' "$log" | head -n 3 | tr '\n' ' ')"; fi
    else row 'weights to PyTorch and back' 'skipped: no python3-torch'; fi
}
depth() {
    local log=$folder/depth.log
    if bash tests/gradient_depth.sh 152 50 50 >"$log" 2>&1; then
        row 'gradients of 152 layers after 50 updates, SEW-ResNet against spiking ResNet' "$(tail -n 1 "$log")"
    else fault 'gradients of 152 layers' "$(tail -n 1 "$log")"; fi
}

start_daemon() {
    build/spiked serve --state-dir "$folder/state" --data-dir "${SPIKED_TEST_DATA:-$folder/data}" --listen "127.0.0.1:$port" \
        --max-running 1 --workers stop 2>"$folder/daemon.log" &
    daemon=$!
    local i
    for i in $(seq 100); do curl -fs -o /dev/null "$base/readyz" && return; sleep 0.1; done
    fault 'daemon' "$(tail -n 1 "$folder/daemon.log")"
}

value() { grep -o "\"$2\":[-0-9.e]*" <<<"$1" | head -n 1 | cut -d: -f2; }
field() { grep -o "\"$2\":\"[^\"]*\"" <<<"$1" | head -n 1 | cut -d'"' -f4; }

# example, series, least accuracy, largest seconds (0 = any)
train() {
    local example=$1 series=$2 least=$3 seconds=$4 json id state start=$SECONDS got took
    json=$(curl -fs --data "@examples/$example.json" "$base/api/v1/experiments")
    id=$(value "$json" id)
    while :; do
        json=$(curl -fs "$base/api/v1/experiments/$id")
        state=$(field "$json" state)
        case $state in succeeded | failed | cancelled) break ;; esac
        sleep 1
    done
    took=$((SECONDS - start))
    got=$(value "$json" "$series")
    if [ "$state" = succeeded ] && awk "BEGIN{exit !($got >= $least)}" && { [ "$seconds" = 0 ] || [ $took -le "$seconds" ]; }; then
        row "examples/$example.json, $series at least $least" "$got in $took s"
    else fault "examples/$example.json" "$state, $series ${got:-none}, wanted $least, $took s: $(field "$json" message)"; fi
}

echo '| date | commit | machine | what | result |'
gradients
golden
mutations
campaign
peer
depth
presets
start_daemon
train quickstart val/accuracy 0.9 120
if [ -n "${SPIKED_TEST_DATA:-}" ]; then
    train fashion-mnist-psn test/accuracy 0.85 0
    train fashion-mnist-plif test/accuracy 0.85 0
    train mnist-lif test/accuracy 0.98 0
    train n-mnist-plif test/accuracy 0.9 0
else row 'accuracy on real data' 'skipped: SPIKED_TEST_DATA names no folder'; fi
exit "$((failed > 0))"
