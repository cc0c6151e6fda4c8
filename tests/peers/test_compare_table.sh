#!/bin/sh
# The arithmetic of bench/compare_spikingjelly.sh on raw values whose medians and ratios are known,
# and its exit codes. Needs no checkout of SpikingJelly.
set -u
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
raw=$folder/raw.csv
failed=0

# Of each round: ours, tuned, shipped in ms; peak memory is 100, 400 and 600 MiB.
three() { # COMMIT ROW ROUND FOREIGN OURS TUNED SHIPPED [LEAST]
    echo "$1,2,$2,$3,ours,$5,104857600,1234,0.05,$4,${8:-}"
    echo "$1,2,$2,$3,tuned,$6,419430400,1234,0.06,$4"
    echo "$1,2,$2,$3,shipped,$7,629145600,1234,0.07,$4"
}
two() { # ROUND ONE ALL
    echo "new,2,threads-sew,$1,one,$2,1,9,,0.1"
    echo "new,2,threads-sew,$1,ours,$3,1,9,,0.1"
}
{
    echo commit,threads,row,round,side,value,peak_rss_bytes,parameters,firing_rate,foreign_percent
    three old fashion-lif 1 0.0 1 1000 1000 # history: a newer commit has the row
    # Ratios, tuned: 5, 4, 5.5; as shipped: 9, 10, 8. Those of the medians would be 5.5 and 8.
    three new fashion-lif 2 0.3 100 500 900
    three new fashion-lif 3 4.9 200 800 2000
    three new fashion-lif 4 5.0 1 900 900 # disturbed
    three new fashion-lif 5 0.0 100 550 800
    three new sew 6 0.0 100 400 340 # tuned suffices, as shipped does not
    three new lif-4 7 1.0 0.5 20 15.5 0.2
    three new psn-4 8 7.0 1 20 20 # nothing counts
    three new sequential-lif 12 0.0 100 900 900 # 9 is more than 8 and less than 15
    two 9 1950 1000
    two 10 1700 1000
    two 11 1810 1000
} >"$raw"
sh bench/compare_spikingjelly.sh --table "$raw" >"$folder/out" || { echo "not ok exit"; failed=1; }

expect() { # NAME LINE
    if grep -qxF -- "$2" "$folder/out"; then echo "ok $1"; return; fi
    echo "not ok $1: no line"; echo "  $2"
    failed=1
}
expect 'commits in use' 'Commit new; medians of the rounds in which other processes took less than 5 % of the CPU.'
expect 'median of ratios over quiet rounds' '| Fashion-MNIST, LIF, T=4, B=128 | 100 ms | 550 ms | 900 ms | 5.0x | 9.0x | 4.2x / 8x | 7.5x / 14x | yes | 3 of 4 |'
expect 'one goal holds against both' '| SEW-ResNet-18, 32x32, LIF, T=4, B=16 | 100 ms | 400 ms | 340 ms | 4.0x | 3.4x | 3.5x | 5x | no | 1 of 1 |'
expect 'aim' '| LIF layer, T=4 | 0.50 ns | 20.0 ns | 15.5 ns | 40.0x | 31.0x | 22x | 30x | aim | 1 of 1 |'
expect 'share of what memory allows' '| LIF layer, T=4 | 0.50 ns | 0.20 ns | 40 % | 100.0x | 77.5x | 22x |'
expect 'no quiet round, no share' '| PSN layer, T=4 | - | - | - | - | - | 15x |'
expect 'no quiet round, no figure' '| PSN layer, T=4 | - | - | - | - | - | 15x | 25x | - | 0 of 1 |'
expect 'goals are numbers' '| sequential CIFAR, LIF, T=32, B=64 | 100 ms | 900 ms | 900 ms | 9.0x | 9.0x | 8x | 15x | yes | 1 of 1 |'
expect 'memory and rates' '| Fashion-MNIST, LIF, T=4, B=128 | 100 MiB | 400 MiB | 600 MiB | 6.0x | 5x | 10x | yes | 5.0 / 7.0 % |'
expect 'threads' '| SEW-ResNet-18 | 1810 ms | 1000 ms | 1.81x | 1.8x | 1.95x | yes | 3 of 3 |'
[ "$(grep -c '^| Fashion' "$folder/out")" = 2 ] || { echo 'not ok a row once a table'; failed=1; }

exits() { # NAME CODE COMMAND...
    name=$1 code=$2
    shift 2
    env -u SPIKINGJELLY_DIR "$@" >"$folder/said" 2>&1
    got=$?
    if [ "$got" = "$code" ] && [ -s "$folder/said" ]; then echo "ok $name"; return; fi
    echo "not ok $name: exit $got"
    cat "$folder/said"
    failed=1
}
head -n 1 "$raw" >"$folder/empty.csv"
exits 'no values' 1 sh bench/compare_spikingjelly.sh --table "$folder/empty.csv"
exits 'no checkout named' 78 sh bench/compare_spikingjelly.sh lif-4
exits 'no checkout there' 78 SPIKINGJELLY_DIR="$folder" sh bench/compare_spikingjelly.sh lif-4
exits 'no such row' 64 sh bench/compare_spikingjelly.sh lif-5
exit $failed
