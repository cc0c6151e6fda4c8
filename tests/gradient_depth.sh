#!/bin/bash
# How far down gradients reach: a narrow SEW-ResNet (ADD) and the spiking ResNet of the same depth,
# width and seed are trained for some updates from blocks that begin as their shortcut. SEW blocks
# are an identity then, forward and backward; in the spiking ResNet a neuron stands behind every sum
# and its surrogate multiplies the gradient once a block (Fang et al., NeurIPS 2021, section 3).
# usage: gradient_depth.sh [DEPTH [STEPS [LEAST]]]   (152 50 50)
# Prints the table: for each block the 2-norm of the gradient of its convolutions, mean over the
# last tenth of the updates, and how often the neurons behind a spiking block fire. Ends with 1
# unless every norm is finite, those of the SEW-ResNet stay within a factor of 10, and those of the
# spiking ResNet fall by LEAST or more from its strongest block to its weakest.
set -uo pipefail
cd "$(dirname "$0")/.."
depth=${1:-152} steps=${2:-50} least=${3:-50}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# kind
train() {
    cat >"$folder/$1.json" <<SPEC
{ "version": 1, "seed": 1, "time_steps": 4,
  "dataset": { "name": "glyphs", "train_limit": 1000, "test_limit": 20, "validation": { "fraction": 0 } },
  "network": { "preset": "$1", "depth": $depth, "width": 8, "stem": "cifar", "zero_init_residual": true },
  "train": { "epochs": 100, "batch_size": 16, "max_steps": $steps, "loss": { "type": "cross_entropy" },
             "optimizer": { "type": "sgd", "lr": 0.05, "momentum": 0.9 } },
  "monitors": [ { "type": "grad_norm", "every_steps": 1 }, { "type": "firing_rate", "every_steps": 1 } ] }
SPEC
    build/spiked-worker train "$folder/$1.json" --out "$folder/$1" >"$folder/$1.log" 2>&1 ||
        { tail -n 2 "$folder/$1.log"; exit 1; }
}

train sew_resnet
train spiking_resnet
# Lines are {"series":"layer1.0.conv1/grad_norm","step":1,"time_ms":...,"value":...}.
awk -F'[":,}]+' -v first=$((steps - steps / 10 + 1)) -v least="$least" '
    $5 < first || $3 !~ /^layer[0-9]+\.[0-9]+\./ { next }
    {
        kind = FILENAME ~ /sew_resnet/ ? 1 : 2
        split($3, part, /[.\/]/)
        block = part[1] "." part[2]
        value = $(NF - 1)
        if (part[3] ~ /^conv/) {
            if (value !~ /^[0-9.e+-]+$/) { print "not finite: " $3 " " value; bad = 1 }
            square[kind, block, $5] += value * value
            if (!(block in known)) { known[block] = 1; blocks[n++] = block }
            updates[$5] = 1
        }
        if (kind == 2 && part[4] == "firing_rate") rate[block] = value # the last one stays
    }
    END {
        print "| block | SEW-ResNet, gradient | spiking ResNet, gradient | its firing rate |"
        print "|---|---|---|---|"
        for (i = 0; i < n; i++) {
            for (kind = 1; kind <= 2; kind++) {
                norm[kind] = 0; count = 0
                for (u in updates) { norm[kind] += sqrt(square[kind, blocks[i], u]); count++ }
                norm[kind] /= count
                if (i == 0 || norm[kind] > most[kind]) most[kind] = norm[kind]
                if (i == 0 || norm[kind] < few[kind]) few[kind] = norm[kind]
            }
            printf "| %s | %.1e | %.1e | %.3f |\n", blocks[i], norm[1], norm[2], rate[blocks[i]]
        }
        if (n == 0 || few[1] <= 0) { print "no gradients"; exit 1 }
        printf "strongest block over weakest: SEW-ResNet %.1f, spiking ResNet %s\n", most[1] / few[1], (few[2] > 0 ? sprintf("%.0f", most[2] / few[2]) : "endless")
        exit bad || most[1] > 10 * few[1] || most[2] < least * few[2]
    }' "$folder/sew_resnet/metrics.ndjson" "$folder/spiking_resnet/metrics.ndjson"
