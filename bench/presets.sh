#!/bin/sh
# make bench-presets: a training step of every preset at its paper's size, on random pixels, as a Markdown table.
# Rows are in bench/presets.txt. usage: bench/presets.sh [PRESET...]; THREADS, STEPS and WARMUP may be set.
set -eu
cd "$(dirname "$0")/.."
threads=${THREADS:-2} steps=${STEPS:-3} warmup=${WARMUP:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npy() { # FILE TYPE SHAPE BYTES: an array of zeros, which takes no room on the disk
    printf '\223NUMPY\001\000\166\000%-117s\n' "{'descr': '$2', 'fortran_order': False, 'shape': ($3), }" >"$1"
    truncate -s "+$4" "$1"
}

octal() { printf '\\%03o' "$1"; }

labels() { # FILE COUNT CLASSES: 0, 0, ... and at last the largest
    npy "$1" '<i8' "$2," $((8 * ($2 - 1)))
    last=$(($3 - 1))
    # shellcheck disable=SC2059 # bytes
    printf "$(octal $((last % 256)))$(octal $((last / 256)))\\000\\000\\000\\000\\000\\000" >>"$1"
}

data() { # STEPS C H W FRAMES COUNT CLASSES
    rm -rf "$work/bench"
    mkdir "$work/bench"
    shape="$2, $3, $4" bytes=$(($6 * $2 * $3 * $4))
    if [ "$5" = yes ]; then shape="$1, $shape" bytes=$((bytes * $1)); fi
    for part in train test; do
        npy "$work/bench/$part-x.npy" '|u1' "$6, $shape" "$bytes"
        labels "$work/bench/$part-y.npy" "$6" "$7"
    done
}

numbers() { # of the worker's JSON: step, forward, backward and optimiser ms, MiB at most, page faults a step
    awk -F'[":, ]+' '
        /"layers"/ { exit }
        /\{$/ { name = $2 }
        $2 == "median" { ms[name] = $3 }
        $2 == "peak_rss_bytes" { mib = $3 / 1048576 }
        $2 == "page_faults_per_step" { faults = $3 }
        END {
            if (!("step_ms" in ms)) exit 1
            printf "%.1f | %.1f | %.1f | %.1f | %.0f | %s |\n", ms["step_ms"], ms["forward_ms"], ms["backward_ms"],
                ms["optimizer_ms"], mib, faults
        }'
}

row() { # PRESET STEPS C H W FRAMES BATCH CLASSES
    data "$2" "$3" "$4" "$5" "$6" "$7" "$8"
    cat >"$work/spec.json" <<SPEC
{"version": 1, "time_steps": $2, "dataset": {"name": "bench"}, "network": {"preset": "$1", "classes": $8},
 "train": {"batch_size": $7, "optimizer": {"type": "adam", "lr": 0.001}}, "monitors": []}
SPEC
    printf '| %s | %s | %s x %s x %s | %s | ' "$1" "$2" "$3" "$4" "$5" "$7"
    build/spiked-worker bench "$work/spec.json" --random-data --data-dir "$work" --threads "$threads" \
        --steps "$steps" --warmup "$warmup" >"$work/out.json"
    numbers <"$work/out.json"
}

known=$(awk -F' *[|] *' '!/^#/ { print $1 }' bench/presets.txt)
for preset in "$@"; do
    printf '%s\n' "$known" | grep -qxe "$preset" || { echo "no preset '$preset'; there are: $(echo $known)" >&2; exit 64; }
done
echo "$(build/spiked-worker isas | tail -n 1), $threads threads, medians of $steps steps"
echo
echo '| preset | time-steps | input | batch | step ms | forward | backward | optimiser | MiB at most | page faults a step |'
echo '|---|---|---|---|---|---|---|---|---|---|'
for preset in ${*:-$known}; do
    # shellcheck disable=SC2046 # the words of a row
    row $(awk -F' *[|] *' -v p="$preset" '$1 == p { print $1, $2, $3, $4, $5, $6 }' bench/presets.txt)
done
