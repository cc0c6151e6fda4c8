#!/bin/bash
# make bench: the kernels by instruction set, then whole training steps, layer by layer. Compare
# only figures of one run on one machine. THREADS and STEPS may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
threads=${THREADS:-2}
steps=${STEPS:-5}

# The worker's JSON, one key a line, as a table: medians of whole steps and of each layer; the
# density of its input; how its products were done: forward / gradient of the input / of the weights.
table() {
    awk -F'[":, ]+' '
        function known(text) { return text == "" ? "-" : text }
        function row() {
            if (path == "") return
            paths = known(by["forward"]) " / " known(by["data"]) " / " known(by["weights"])
            printf "| %s | %s | %.2f | %.2f | %s | %s |\n", path, type, forward, backward, density,
                by["forward"] by["data"] by["weights"] == "" ? "" : paths
            path = density = ""
            split("", by)
        }
        /"layers"/ { layers = 1
                     print "\n\n| layer | type | forward ms | backward ms | input density | path |"
                     print "|---|---|---|---|---|---|" }
        !layers && /\{$/ { name = $2 }
        !layers && $2 == "median" { printf "%s%s %.1f", comma, name, $3; seen = 1; comma = ", " }
        !layers && /"(page_faults_per_step|isa)"/ { printf ", %s %s", $2, $3 }
        !layers && /"peak_rss_bytes"/ { printf ", peak_rss_mib %.0f", $3 / 1048576 }
        layers && $2 == "path" { path = $3 }
        layers && $2 == "type" { type = $3 }
        layers && $2 == "model" { type = $3 }
        layers && $2 == "forward_ms" { forward = $3 }
        layers && $2 == "backward_ms" { backward = $3 }
        layers && $2 == "input_density" { density = sprintf("%.1f %%", 100 * $3) }
        layers && $2 == "forward_path" { by["forward"] = $3 }
        layers && $2 == "backward_data_path" { by["data"] = $3 }
        layers && $2 == "backward_weights_path" { by["weights"] = $3 }
        layers && /}/ { row() }
        END { exit !seen }'
}

slower=0
build/bench_kernels "$threads" | sh bench/isa_ratio.sh || slower=1
echo
build/bench_psn "$threads"
echo
build/bench_gemm "$threads"
for spec in quickstart kernels-fashion-lif; do
    printf '\nexamples/%s.json, random data, %s threads, %s steps\n' "$spec" "$threads" "$steps"
    build/spiked-worker bench "examples/$spec.json" --random-data \
        --steps "$steps" --threads "$threads" | table
done
echo
sh bench/presets.sh
[ "$slower" = 0 ] || { echo "AVX-512 is slower than AVX2 somewhere, see above" >&2; exit 1; }
