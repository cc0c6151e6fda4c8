#!/bin/sh
# make bench: the kernels, then whole training steps. Medians; ratios are only worth quoting from one run.
set -eu
cd "$(dirname "$0")/.."
threads=${THREADS:-$(nproc)}
build/bench_kernels "$threads"
for spec in quickstart kernels-fashion-lif; do
    printf '\nexamples/%s.json, random data, %s threads:\n' "$spec" "$threads"
    build/spiked-worker bench "examples/$spec.json" --random-data --threads "$threads" --steps "${STEPS:-7}" |
        tr ',{}' '\n\n\n' | grep -E '"(median|page_faults_per_step|peak_rss_bytes)"|step_ms|forward_ms|backward_ms|optimizer_ms' | tr -d '"' | paste -sd' '
done
