#!/bin/sh
# make bench: the kernels by instruction set, then whole training steps, layer by layer. Compare
# only figures of one run on one machine. THREADS and STEPS may be set.
set -eu
cd "$(dirname "$0")/.."
threads=${THREADS:-2}
steps=${STEPS:-5}

# The worker's JSON, one key a line, as a table: medians of whole steps, the last step by layer.
table() {
    awk -F'[":, ]+' '
        /"layers"/ { layers = 1; print "\n\n| layer | type | forward ms | backward ms |"
                     print "|---|---|---|---|" }
        !layers && /\{$/ { name = $2 }
        !layers && $2 == "median" { printf "%s%s %.1f", comma, name, $3; seen = 1; comma = ", " }
        !layers && /"(page_faults_per_step|isa)"/ { printf ", %s %s", $2, $3 }
        !layers && /"peak_rss_bytes"/ { printf ", peak_rss_mib %.0f", $3 / 1048576 }
        layers && $2 == "path" { path = $3 }
        layers && $2 == "type" { type = $3 }
        layers && $2 == "forward_ms" { forward = $3 }
        layers && $2 == "backward_ms" {
            printf "| %s | %s | %.2f | %.2f |\n", path, type, forward, $3
        }
        END { exit !seen }'
}

slower=0
build/bench_kernels "$threads" | sh bench/isa_ratio.sh || slower=1
echo
build/bench_psn "$threads"
for spec in quickstart kernels-fashion-lif; do
    printf '\nexamples/%s.json, random data, %s threads, %s steps\n' "$spec" "$threads" "$steps"
    build/spiked-worker bench "examples/$spec.json" --random-data \
        --steps "$steps" --threads "$threads" | table
done
[ "$slower" = 0 ] || { echo "AVX-512 is slower than AVX2 somewhere, see above" >&2; exit 1; }
