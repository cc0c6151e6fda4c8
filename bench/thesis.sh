#!/bin/bash
# make bench-thesis: what it gains to see all time-steps at once, for T = 2 ... 64 at constant T x B, as Markdown:
# stateless layers called step by step against once for all steps (step_mode single, multi); serial neurons step
# by step, fused over T, and PSN; whole training steps. A time is the median over ROUNDS runs that take turns;
# layers forward and backward. THREADS, ROUNDS and ELEMENTS (T x B) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
threads=${THREADS:-2} rounds=${ROUNDS:-5} elements=${ELEMENTS:-256}
steps='2 4 8 16 32 64'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One run: "T MODEL MODE WHAT MS" of every type of layer, summed, and of the whole step.
measure() { # T MODEL MODE
    sed -E "s/\"time_steps\": [0-9]+/\"time_steps\": $1/; s/\"batch_size\": [0-9]+/\"batch_size\": $((elements / $1))/
            s/\"model\": \"[a-z_]+\"/\"model\": \"$2\"/" bench/specs/thesis.json >"$work/spec.json"
    build/spiked-worker bench "$work/spec.json" --random-data --steps 3 --warmup 1 --threads "$threads" --step-mode "$3" |
        awk -F'[":, ]+' -v key="$1 $2 $3" '
            /"layers"/ { layers = 1 }
            !layers && /\{$/ { name = $2 }
            !layers && $2 == "median" && name == "step_ms" { print key, "step", $3 }
            layers && $2 == "type" { type = $3 }
            layers && ($2 == "forward_ms" || $2 == "backward_ms") { ms[type] += $3 }
            END { if (!length(ms)) exit 1; for (t in ms) print key, t, ms[t] }'
}

# Jiffies: of all processors, those that were busy, those of this script.
clock() { awk '/^cpu / { print $2 + $3 + $4 + $5 + $6 + $7 + $8, $2 + $3 + $4 + $7 + $8 }' /proc/stat; awk '{ print $14 + $15 + $16 + $17 }' /proc/$$/stat; }
clock | xargs >"$work/begin"
for ((round = 0; round < rounds; round++)); do
    for t in $steps; do
        for run in 'lif single' 'lif multi' 'plif single' 'plif multi' 'psn multi'; do
            # shellcheck disable=SC2086
            measure "$t" $run >>"$work/times"
        done
    done
done
others=$(clock | xargs | cat "$work/begin" - | awk 'NR == 1 { all = $1; busy = $2; own = $3 }
    NR == 2 { printf "%.1f", 100 * ($2 - busy - ($3 - own)) / ($1 - all) }')

cells=$((64 * 28 * 28 + 64 * 14 * 14 + 512)) # neurons of a sample
echo "$(date -u +%F), commit $(git describe --always --dirty), $(sed -n 's/^model name.*: //p;' /proc/cpuinfo | head -n 1)," \
    "$(build/spiked-worker isas | tail -n 1), $threads threads; $rounds rounds; other processes used $others % of the processors."
sort -k1,1n -k2,4 -k5,5g "$work/times" | awk -v steps="$steps" -v elements="$elements" -v cells="$cells" '
    function median(key) { return of[key, int((n[key] + 1) / 2)] }
    function at(t, run, what) { return median(t " " run " " what) }
    function stateless(t, mode) { return at(t, "lif " mode, "conv2d") + at(t, "lif " mode, "max_pool2d") + at(t, "lif " mode, "linear") }
    function pair(a, b) { return sprintf(" %.2f | %.2f | %.2f |", a, b, a / b) }
    { key = $1 " " $2 " " $3 " " $4; of[key, ++n[key]] = $5 }
    END {
        count = split(steps, ts, " ")
        print "\n**Stateless layers, ms: step by step, folded, ratio.** Batch norm needs all steps in both."
        print "\n| T | B | convolutions | | | pools | | | linear | | | all | | |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        for (i = 1; i <= count; i++) {
            t = ts[i]
            printf "| %d | %d |", t, elements / t
            printf "%s", pair(at(t, "lif single", "conv2d"), at(t, "lif multi", "conv2d"))
            printf "%s", pair(at(t, "lif single", "max_pool2d"), at(t, "lif multi", "max_pool2d"))
            printf "%s", pair(at(t, "lif single", "linear"), at(t, "lif multi", "linear"))
            print pair(stateless(t, "single"), stateless(t, "multi"))
        }
        split("neuron step", whats, " ")
        split("**Neurons, ms.**|**Whole training steps, ms.**", titles, "|")
        for (w = 1; w <= 2; w++) {
            print "\n" titles[w]
            print "\n| T | B | LIF step by step | LIF fused | PSN | step by step / fused | step by step / PSN | fused / PSN |\n|---|---|---|---|---|---|---|---|"
            for (i = 1; i <= count; i++) {
                t = ts[i]
                s = at(t, "lif single", whats[w]); m = at(t, "lif multi", whats[w]); p = at(t, "psn multi", whats[w])
                printf "| %d | %d | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", t, elements / t, s, m, p, s / m, s / p, m / p
            }
        }
        print "\n**Time per neuron and time-step, ns, forward and backward**: flat is good.\n"
        printf "| neuron |"; for (i = 1; i <= count; i++) printf " T = %d |", ts[i]
        printf " T = 64 / T = 4 |\n|---|"; for (i = 0; i <= count; i++) printf "---|"
        split("lif single,lif multi,plif single,plif multi,psn multi", runs, ",")
        split("LIF step by step,LIF fused,PLIF step by step,PLIF fused,PSN", labels, ",")
        for (r = 1; r <= 5; r++) {
            printf "\n| %s |", labels[r]
            for (i = 1; i <= count; i++) printf " %.2f |", at(ts[i], runs[r], "neuron") * 1e6 / (elements * cells)
            printf " %.2f |", at(64, runs[r], "neuron") / at(4, runs[r], "neuron")
        }
        print ""
    }'
