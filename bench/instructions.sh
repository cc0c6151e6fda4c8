#!/bin/bash
# Instructions of fixed training steps, counted by callgrind. usage: bench/instructions.sh check | update
# check: a line for each case of bench/instructions/ and instruction set; exits 1 when one of them, or a source
# file in it, takes over 2 % more than bench/instructions.json says. update: writes that file.
#
# Counted are the worker's own instructions inside trainer_update, on one thread: no libc or libm, which
# choose their code by CPU. The specs say numerics exact, so every machine computes the same bits and takes the
# same branches. The compiler matters, so the file names it. Valgrind knows no AVX-512.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-check}
worker=${SPIKED_WORKER:-build/spiked-worker}
kept=bench/instructions.json
steps=2 # the second one chooses forms by what the first counted
compiler="$(uname -m) gcc $(gcc -dumpfullversion)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "CASE ISA FILE COUNT" of every source file with 0.1 % or more, and of all of them. A cost line of a profile is
# "LINE COST"; the one behind calls= is what the callee costs, which its own lines have. A name is given once, as
# "(ID) NAME", then as "(ID)". fl= is the file of a function; fi= and fe=, of what is inlined, do not matter.
own_costs() { # PROFILE OBJECT CASE ISA
    awk -v object="$2" -v label="$3 $4" '
        /^(c?ob|c?fl|c?fi|fe)=/ {
            key = substr($1, 1, index($1, "=") - 1)
            id = (key ~ /ob/ ? "object " : "file ") substr($1, index($1, "=") + 1)
            if (NF > 1) name[id] = substr($0, index($0, " ") + 1)
            if (key == "ob") own = name[id] == object
            if (key == "fl") { file = name[id]; sub(/.*\/(worker|common)\//, "", file); sub(/^\?+$/, "libgcc", file) }
            next
        }
        /^calls=/ { callee = 1; next }
        /^[-+*0-9]/ { if (own && !callee) { cost[file] += $2; all += $2 } callee = 0 }
        END {
            if (!all) exit 1
            printf "%s all %.0f\n", label, all
            for (f in cost) if (cost[f] >= all / 1000) printf "%s %s %.0f\n", label, f, cost[f]
        }' "$1"
}

count() { # CASE ISA
    local out=$work/$1.$2
    SPIKED_ISA=$2 valgrind --tool=callgrind --toggle-collect=trainer_update \
        --callgrind-out-file="$out.profile" "$worker" bench "bench/instructions/$1.json" --random-data \
        --steps $steps --warmup 0 --threads 1 >"$out.log" 2>&1 &&
        own_costs "$out.profile" "$(realpath "$worker")" "$1" "$2" >"$out.costs" ||
        { echo "FAIL $1 $2 was not counted: $(grep -v '^==' "$out.log" | tail -n 3)"; return 1; }
}

count_all() { # ISA...; the slowest first
    local isa spec running=0
    for isa in "$@"; do
        for spec in bench/instructions/*.json; do
            if [ $running = "${JOBS:-2}" ]; then wait -n; running=$((running - 1)); fi
            count "$(basename "$spec" .json)" "$isa" &
            running=$((running + 1))
        done
    done
    for (( ; running > 0; running--)); do wait -n; done
    sort "$work"/*.costs >"$work/now"
}

write() {
    awk -v compiler="$compiler" '
        BEGIN { printf "{\n  \"compiler\": \"%s\"", compiler }
        $1 " " $2 != last { printf "%s,\n  \"%s %s\": {\n", last ? "\n  }" : "", $1, $2; last = $1 " " $2; comma = "" }
        { printf "%s    \"%s\": %s", comma, $3, $4; comma = ",\n" }
        END { print "\n  }\n}" }' "$work/now" >"$kept.new"
    mv "$kept.new" "$kept"
}

known() { # the same lines from the file
    awk -F'"' '/: \{$/ { label = $2 } label && /: [0-9]+,?$/ { sub(/^: /, "", $3); print label, $2, $3 + 0 }' "$kept"
}

# A file counts when it and its whole case gained 0.25 % of the case: not when code only moved.
compare() { # ISA...
    awk -v isas="$*" '
        function percent(old, now) { return old ? 100 * (now - old) / old : 100 }
        { label = $1 " " $2 }
        FNR == NR { before[label, $3] = $4; if (index(isas, $2)) kept[label] = 1; next }
        $3 == "all" { if (!(label in now)) order[++n] = label; now[label] = $4 }
        $3 != "all" { files[label] = files[label] " " $3; cost[label, $3] = $4 }
        END {
            if (!n) { print "FAIL nothing was counted"; exit }
            for (label in kept) if (!(label in now)) print "FAIL " label ": bench/instructions.json has it, nobody counted it (make instructions)"
            for (i = 1; i <= n; i++) {
                label = order[i]
                old = before[label, "all"]
                if (!old) { print "FAIL " label ": bench/instructions.json has none (make instructions)"; continue }
                p = percent(old, now[label])
                verdict = p > 2 ? "FAIL" : "ok"
                text = ""
                split(files[label], file, " ")
                for (k in file) {
                    was = before[label, file[k]]; is = cost[label, file[k]]
                    if (now[label] - old < old / 400 || is - was < old / 400 || percent(was, is) <= 2) continue
                    verdict = "FAIL"
                    text = text sprintf("; %s: %.0f, before %.0f, %+.2f %%", file[k], is, was, percent(was, is))
                }
                printf "%s %s: %.0f instructions, before %.0f, %+.2f %%%s", verdict, label, now[label], old, p, text
                if (verdict == "FAIL") printf ". At most +2 %%: make it faster, or say why and run make instructions"
                else if (p < -2) printf ". Better: lower it by make instructions"
                print ""
            }
        }' "$work/before" "$work/now"
}

isas=generic
if grep -qm1 '\bavx2\b' /proc/cpuinfo; then isas='generic avx2'; fi
if [ "$mode" = update ]; then
    command -v valgrind >/dev/null || { echo "instructions: valgrind is missing (make setup)" >&2; exit 1; }
    [ "$isas" != generic ] || { echo "instructions: this CPU has no avx2 to count" >&2; exit 1; }
    count_all $isas
    write
    exit 0
fi
recorded=$(sed -n 's/.*"compiler": "\(.*\)".*/\1/p' "$kept")
if ! command -v valgrind >/dev/null; then echo "SKIPPED instructions: no valgrind"; exit 0; fi
if [ "$compiler" != "$recorded" ]; then echo "SKIPPED instructions: $compiler here, $recorded in $kept"; exit 0; fi
[ "$isas" != generic ] || echo "SKIPPED instructions of avx2: not in this CPU"
count_all $isas
known >"$work/before"
compare $isas | tee "$work/verdicts"
! grep -q '^FAIL' "$work/verdicts"
