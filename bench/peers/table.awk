# Medians and ratios of the raw values of bench/compare_spikingjelly.sh, as Markdown.
# usage: awk -v quiet=5 -f table.awk rows.txt raw.csv
# raw.csv: commit,threads,row,round (when it began),side,value,peak_rss_bytes,parameters,firing_rate,foreign_percent,least
# (least: what memory alone took in the same run; only our layers of neurons have it)
# Of a row the lines of its last commit count. A ratio is taken within a round, between neighbours in
# time; the median of the rounds with less than `quiet` percent of foreign CPU is printed.

function trim(s) { gsub(/^ +| +$/, "", s); return s }

# Median of list[key, 1 .. n], sorted in place.
function median(list, key, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = list[key, i]
        for (j = i - 1; j > 0 && list[key, j] > x; j--) list[key, j + 1] = list[key, j]
        list[key, j + 1] = x
    }
    return n % 2 ? list[key, (n + 1) / 2] : (list[key, n / 2] + list[key, n / 2 + 1]) / 2
}

# Median over the counted rounds of a row of FIELD of a side, or of its ratio to that of `over`.
function of_rounds(row, field, side, over,    r, n, list) {
    n = 0
    for (r = 1; r <= rounds[row]; r++)
        if (counts[row, r] && (row, r, side, field) in raw)
            list["m", ++n] = raw[row, r, side, field] / (over == "" ? 1 : raw[row, r, over, field])
    return n ? median(list, "m", n) : -1
}

function shown(x, digits) { return x < 0 ? "-" : sprintf("%." digits "f", x) }
function value(x, unit) { return x < 0 ? "-" : sprintf("%.*f %s", x < 10 ? 2 : x < 100 ? 1 : 0, x, unit) }
function ratio(x, digits) { return x < 0 ? "-" : sprintf("%.*fx", digits, x) }

function meets(x, least) { return least == "-" || x >= least + 0 } # + 0: as numbers, not as texts
# "aim", "yes", "no", or "-" without a counted round. Goals "-" hold always.
function reached(a, b, least_a, least_b, aim_a, aim_b) {
    if (a < 0) return "-"
    if (meets(a, aim_a) && meets(b, aim_b)) return "aim"
    return meets(a, least_a) && meets(b, least_b) ? "yes" : "no"
}
function goals(a, b) { return b == "-" || a == b ? a "x" : a "x / " b "x" }
function counted(row,    r, n) {
    for (r = 1; r <= rounds[row]; r++) n += counts[row, r]
    return n + 0
}

NR == FNR {
    if ($0 ~ /^#/ || split($0, f, "|") < 7) next
    name = trim(f[1])
    order[++n_rows] = name
    work[name] = trim(f[2])
    split(trim(f[3]), how, " ")
    kind[name] = how[1]
    for (i = 4; i <= 7; i++) goal[name, i] = trim(f[i])
    next
}
FNR == 1 { next } # the header
{
    split($0, f, ",")
    row = f[3]
    if (!(row in kind)) next
    if (f[1] != commit[row]) { # a newer build: what the older one did is history
        commit[row] = f[1]
        rounds[row] = 0
    }
    if (f[4] != round_name[row] || rounds[row] == 0) {
        round_name[row] = f[4]
        counts[row, ++rounds[row]] = f[10] < quiet
    }
    raw[row, rounds[row], f[5], 1] = f[6]
    raw[row, rounds[row], f[5], 2] = f[7] / 1048576
    raw[row, rounds[row], f[5], 3] = f[9]
    if (f[11] != "") raw[row, rounds[row], f[5], 4] = f[11]
}

function speed_line(row, unit,    a, b) {
    a = of_rounds(row, 1, "tuned", "ours")
    b = of_rounds(row, 1, "shipped", "ours")
    printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d of %d |\n", work[row],
        value(of_rounds(row, 1, "ours"), unit), value(of_rounds(row, 1, "tuned"), unit),
        value(of_rounds(row, 1, "shipped"), unit), ratio(a, 1), ratio(b, 1),
        goals(goal[row, 4], goal[row, 5]), goals(goal[row, 6], goal[row, 7]),
        reached(a, b, goal[row, 4], goal[row, 5], goal[row, 6], goal[row, 7]), counted(row), rounds[row]
}
function memory_line(row,    b) {
    b = of_rounds(row, 2, "shipped", "ours")
    printf "| %s | %s | %s | %s | %s | 5x | 10x | %s | %s / %s %% |\n", work[row],
        value(of_rounds(row, 2, "ours"), "MiB"), value(of_rounds(row, 2, "tuned"), "MiB"),
        value(of_rounds(row, 2, "shipped"), "MiB"), ratio(b, 1), reached(b, b, 5, 5, 10, 10),
        shown(100 * of_rounds(row, 3, "ours"), 1), shown(100 * of_rounds(row, 3, "shipped"), 1)
}
function least_line(row,    ours, least) {
    ours = of_rounds(row, 1, "ours")
    least = of_rounds(row, 4, "ours")
    printf "| %s | %s | %s | %s | %s | %s | %s |\n", work[row], value(ours, "ns"), value(least, "ns"),
        least < 0 ? "-" : sprintf("%.0f %%", 100 * least / ours), bound(row, "tuned", least), bound(row, "shipped", least),
        goals(goal[row, 4], goal[row, 5])
}
# The ratio that a layer bound by memory alone would have.
function bound(row, side, least,    theirs) {
    theirs = of_rounds(row, 1, side)
    return least < 0 || theirs < 0 ? "-" : ratio(theirs / least, 1)
}
function threads_line(row,    a) {
    a = of_rounds(row, 1, "one", "ours")
    printf "| %s | %s | %s | %s | %s | %s | %s | %d of %d |\n", work[row],
        value(of_rounds(row, 1, "one"), "ms"), value(of_rounds(row, 1, "ours"), "ms"), ratio(a, 2),
        goals(goal[row, 4], "-"), goals(goal[row, 6], "-"),
        reached(a, a, goal[row, 4], "-", goal[row, 6], "-"), counted(row), rounds[row]
}
function head(want, title, line,    i, any) {
    for (i = 1; i <= n_rows; i++) any = any || (rounds[order[i]] && kind[order[i]] ~ want)
    if (!any) return 0
    print "\n" title "\n\n" line
    gsub(/[^|]+/, "---", line)
    print line
    return 1
}

END {
    for (i = 1; i <= n_rows; i++) {
        c = commit[order[i]]
        if (c == "" || c in known) continue
        known[c] = 1
        commits = commits (commits == "" ? "" : ", ") c
    }
    if (commits == "") { print "no row has a value" > "/dev/stderr"; exit 1 }
    print "Commit " commits "; medians of the rounds in which other processes took less than " quiet " % of the CPU."
    if (head("step|neuron", "Time of a training step, and of forward and backward of a layer of neurons an input:",
             "| work | ours | tuned | as shipped | ratio, tuned | ratio, as shipped | at least | aim | reached | rounds |"))
        for (i = 1; i <= n_rows; i++) if (rounds[order[i]] && kind[order[i]] ~ /step|neuron/)
            speed_line(order[i], kind[order[i]] == "step" ? "ms" : "ns")
    if (head("neuron", "The same layers beside what memory alone takes for their arrays in the same run (x read and spikes written, x and ds read and dx written), and the ratios that this would be:",
             "| work | ours | memory alone | of it reached | ratio at that, tuned | as shipped | at least |"))
        for (i = 1; i <= n_rows; i++) if (rounds[order[i]] && kind[order[i]] == "neuron") least_line(order[i])
    if (head("step", "Peak memory of the whole process, and the mean firing rate of all layers of neurons:",
             "| work | ours | tuned | as shipped | ratio, as shipped | at least | aim | reached | firing rate, ours / theirs |"))
        for (i = 1; i <= n_rows; i++) if (rounds[order[i]] && kind[order[i]] == "step") memory_line(order[i])
    if (head("threads", "Our own step on one thread and on all:",
             "| work | 1 thread | all threads | ratio | at least | aim | reached | rounds |"))
        for (i = 1; i <= n_rows; i++) if (rounds[order[i]] && kind[order[i]] == "threads") threads_line(order[i])
}
