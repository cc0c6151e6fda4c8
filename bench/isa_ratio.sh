#!/bin/sh
# Passes the table of bench_kernels on (stdin) and adds what AVX-512 gains over AVX2, a line for each family of
# kernels. Callgrind knows no AVX-512 (bench/instructions.sh), so this is its guard: exits 1 where a family is
# slower by over 10 % or was timed for one of both alone, or where there is no table. Says so where a machine or
# SPIKED_ISA leaves nothing to compare.
awk -F ' *[|] *' '
    { print }
    $2 == "avx2" || $2 == "avx512" {
        split($3, word, " ")
        family = word[1] ", " $4
        if (!(family in seen)) { seen[family] = 1; order[++n] = family }
        ms[$2, family] += $5
    }
    END {
        print "\n| family | avx2 ms | avx512 ms | avx2 / avx512 |\n|---|---|---|---|"
        for (i = 1; i <= n; i++) {
            a = ms["avx2", order[i]]; b = ms["avx512", order[i]]
            if (!a || !b) { missing[order[i]] = a ? "avx512" : "avx2"; continue }
            compared++
            slow = a / b < 0.9
            slower += slow
            printf "| %s | %.2f | %.2f | %.2f%s |\n", order[i], a, b, a / b, slow ? ", SLOWER" : ""
        }
        for (f in missing) if (compared) { print "| " f " | | | MISSING for " missing[f] " |"; slower++ }
        if (!compared) print "| not compared: not both in this run | | | |"
        exit slower > 0 || n == 0
    }'
