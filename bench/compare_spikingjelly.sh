#!/bin/sh
# make bench-peer: spiked beside SpikingJelly 0.0.0.0.14, in turn on one machine, as a table for
# bench/results.md. The rows, their specs and goals are in bench/peers/rows.txt.
#
# usage: SPIKINGJELLY_DIR=CHECKOUT bench/compare_spikingjelly.sh [ROW...]
#        bench/compare_spikingjelly.sh --table [RAW.csv]     the table of earlier values
#
# A round runs ours, then the peer with a malloc that gives nothing back ("tuned", without page
# faults), then the peer as shipped. It counts when other processes took less than 5 % of the CPU
# meanwhile; up to ROUNDS more are tried for those that do not. Raw values are added to RAW.
# Exit codes: 64 wrong usage, 78 no checkout or no PyTorch, 1 a side failed or the nets differ.
set -eu
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5} steps=${STEPS:-3} warmup=${WARMUP:-1} threads=${THREADS:-2}
python=${SPIKED_PYTHON:-/usr/bin/python3}
raw=${RAW:-build/peer/raw.csv}
rows=bench/peers/rows.txt
quiet=5
header=commit,threads,row,round,side,value,peak_rss_bytes,parameters,firing_rate,foreign_percent,least

fail() { # CODE TEXT
    echo "compare_spikingjelly: $2" >&2
    exit "$1"
}

field() { # ROW NUMBER: of rows.txt
    awk -F' *[|] *' -v row="$1" -v n="$2" '$1 == row { print $n }' "$rows"
}

machine() {
    awk -F': ' '/^model name/ { name = $2 } /^cpu family/ { family = $2 } /^model\t/ { model = $2 }
        END { printf "%s (family %s, model %s)", name, family, model }' /proc/cpuinfo
    echo ", ${SPIKED_ISA:-$(build/spiked-worker isas | tail -n 1)}, $(nproc) cores, $(date +%Y-%m-%d)."
}

table() { # RAW.csv
    awk -v quiet="$quiet" -f bench/peers/table.awk "$rows" "$1"
}

# ---- one side: prints value,peak_rss_bytes,parameters,firing_rate,least -------------------------
# The first number behind "NAME": and the mean of all rates, of JSON with one key a line or in one.
numbers() {
    tr ',{}' '\n\n\n' | awk -F': *' '
        { gsub(/[" ]/, "", $1); sub(/ +$/, "", $2) }
        $1 == "value" || ($1 == "median" && !("value" in got)) { got["value"] = $2 }
        $1 == "peak_rss_bytes" || $1 == "parameters" || $1 == "least" { if (!($1 in got)) got[$1] = $2 }
        $1 == "firing_rate" { rate += $2; rates++ }
        END {
            if (!("value" in got)) exit 1
            printf "%s,%s,%s,%s,%s\n", got["value"], got["peak_rss_bytes"], got["parameters"],
                rates ? rate / rates : "", got["least"]
        }'
}

ours_step() { # SPEC THREADS
    kept=build/peer/$(basename "$1" .json)-$2.json # times of the layers, for notes
    build/spiked-worker bench "$1" --random-data --data-dir build/peer/data --threads "$2" \
        --steps "$steps" --warmup "$warmup" >"$kept"
    { build/spiked-worker plan "$1" --data-dir build/peer/data | grep -m 1 '"parameters"'; cat "$kept"; } | numbers
}

ours() { # KIND ARGUMENT...
    case $1 in
    step) ours_step "$2" "$threads" ;;
    neuron) build/bench_neurons "$2" "$3" "$threads" | numbers ;;
    esac
}

peer() { # KIND ARGUMENT...
    case $1 in
    step) "$python" bench/peers/spikingjelly_step.py "$2" --threads "$threads" --steps "$steps" --warmup "$warmup" ;;
    neuron) "$python" bench/peers/spikingjelly_neuron.py "$2" "$3" "$threads" ;;
    esac | numbers
}

tuned() {
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 peer "$@"
}

# ---- rounds --------------------------------------------------------------------------------------
# Ticks since boot: all, those in which a CPU was busy or taken by the host, those of this script.
ticks() {
    awk -v own="/proc/$$/stat" 'NR == 1 {
        for (i = 2; i <= 9; i++) all += $i
        getline line < own
        sub(/.*\) /, "", line) # the name may hold blanks; utime is the 12th field behind it
        split(line, f, " ")
        print all, all - $5 - $6, f[12] + f[13] + f[14] + f[15]
    }' /proc/stat
}

foreign_percent() { # TICKS_BEFORE TICKS_AFTER
    echo "$1 $2" | awk '{ d = ($5 - $2) - ($6 - $3); printf "%.1f", 100 * (d > 0 ? d : 0) / ($4 - $1) }'
}

# SIDE,numbers for each side of a row.
sides() { # KIND ARGUMENT...
    if [ "$1" = threads ]; then
        one=$(ours_step "$2" 1) && all=$(ours_step "$2" "$threads") || return 1
        printf 'one,%s\nours,%s\n' "$one" "$all"
    else
        a=$(ours "$@") && b=$(tuned "$@") && c=$(peer "$@") || return 1
        printf 'ours,%s\ntuned,%s\nshipped,%s\n' "$a" "$b" "$c"
    fi
}

same_parameters() { # LINES: the fourth field of each is equal and not empty
    printf '%s\n' "$1" | awk -F, '{ seen[$4] = 1 } $4 == "" { bad = 1 } END { for (p in seen) n++; exit bad || n != 1 }'
}

round() { # ROW
    begun=$(date +%s) before=$(ticks)
    # shellcheck disable=SC2046 # the words of "what runs"
    lines=$(sides $(field "$1" 3)) || fail 1 "$1: a side failed"
    foreign=$(foreign_percent "$before" "$(ticks)")
    same_parameters "$lines" || fail 1 "$1: the networks differ in parameters: $lines"
    printf '%s\n' "$lines" | sed "s/^/$commit,$threads,$1,$begun,/; s/,[^,]*\$/,$foreign&/" >>"$raw"
    printf '%s: %s %% foreign; %s\n' "$1" "$foreign" "$(printf '%s\n' "$lines" | cut -d, -f1,2 | tr '\n' ' ')" >&2
    awk -v f="$foreign" -v q="$quiet" 'BEGIN { exit !(f < q) }'
}

row() { # ROW
    counted=0 tried=0
    while [ "$counted" -lt "$rounds" ] && [ "$tried" -lt $((2 * rounds)) ]; do
        tried=$((tried + 1))
        if round "$1"; then counted=$((counted + 1)); fi
    done
}

# ---- start ---------------------------------------------------------------------------------------
if [ "${1:-}" = --table ]; then
    table "${2:-$raw}"
    exit
fi
known=$(awk -F' *[|] *' '!/^#/ { print $1 }' "$rows")
for r in "$@"; do
    printf '%s\n' "$known" | grep -qxe "$r" || fail 64 "no row '$r'; there are: $(echo $known)"
done
case $rounds in '' | *[!0-9]* | 0) fail 64 "ROUNDS=$rounds: must be at least 1" ;; esac
[ -n "${SPIKINGJELLY_DIR:-}" ] || fail 78 "SPIKINGJELLY_DIR is not set: name a checkout of SpikingJelly 0.0.0.0.14"
[ -f "$SPIKINGJELLY_DIR/spikingjelly/activation_based/neuron.py" ] || fail 78 "SPIKINGJELLY_DIR=$SPIKINGJELLY_DIR: no spikingjelly/activation_based/neuron.py there"
"$python" -c 'import torch' 2>/dev/null || fail 78 "$python has no PyTorch (sh deploy/setup.sh peer, or SPIKED_PYTHON)"
for program in build/spiked-worker build/bench_neurons; do
    [ -x "$program" ] || fail 78 "$program is missing: make bench-peer"
done

mkdir -p build/peer/data
[ -s "$raw" ] || echo "$header" >"$raw"
"$python" bench/peers/spikingjelly_step.py --write-data build/peer/data
commit=$(git describe --always --dirty)
for r in ${*:-$known}; do row "$r"; done
{ machine; table "$raw"; } | tee build/peer/table.md
