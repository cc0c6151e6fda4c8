#!/bin/sh
# What `make run` does after the build: start the daemon (or find it running), submit the quick start
# once, follow it. usage: deploy/run.sh PORT DATA_DIR
set -eu
cd "$(dirname "$0")/.."
port=$1
data=$2
base=http://127.0.0.1:$port
state=state
mkdir -p "$state" "$data"
daemon=''

field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" | head -n 1; }
ready() { curl -fs -o /dev/null --max-time 2 "$base/readyz"; }

stop() {
    trap '' INT TERM
    if [ -n "$daemon" ]; then
        printf '\nstopping: workers write their checkpoints, then the daemon ends\n'
        kill -TERM "$daemon" 2>/dev/null || :
        wait "$daemon" 2>/dev/null || :
        echo "stopped; 'make run' goes on from here"
    else
        printf '\nthe daemon of the other terminal goes on\n'
    fi
    exit 0
}

if curl -s -o /dev/null --max-time 2 "$base/"; then
    if ! curl -fs --max-time 2 "$base/api/v1/version" | grep -q worker_protocol; then
        echo "make run: port $port is used by another program; choose one: make run PORT=$((port + 10))" >&2
        exit 1
    fi
    echo "a daemon is already running at $base; following it"
else
    setsid_ok=$(command -v setsid || :)
    # Its own session: Ctrl-C reaches this script only, which then stops the daemon in order.
    $setsid_ok build/spiked serve --listen "127.0.0.1:$port" --state-dir "$state" --data-dir "$data" --workers stop \
        2>"$state/daemon.log" &
    daemon=$!
    trap stop INT TERM
    tries=0
    until ready; do
        tries=$((tries + 1))
        if ! kill -0 "$daemon" 2>/dev/null || [ $tries -gt 100 ]; then
            tail -n 5 "$state/daemon.log" >&2
            if grep -q 'in use' "$state/daemon.log"; then
                echo "make run: port $port is used by another program; choose one: make run PORT=$((port + 10))" >&2
            fi
            kill "$daemon" 2>/dev/null || :
            exit 1
        fi
        sleep 0.1
    done
fi
trap stop INT TERM

# A second start goes on with what is there; the first one submits the quick start.
id=$(curl -fs "$base/api/v1/experiments?limit=1" | sed -n 's/.*"items":\[{"id":\([0-9]*\).*/\1/p')
if [ -z "$id" ]; then
    id=$(curl -fs --data @examples/quickstart.json "$base/api/v1/experiments" | field id)
fi
[ -n "$id" ] || { echo "make run: the quick start was not accepted" >&2; stop; }
echo "open $base/#/experiments/$id"

show() {
    json=$(curl -fs --max-time 2 "$base/api/v1/experiments/$id") || return 1
    state_now=$(printf '%s' "$json" | field state)
    printf '%s' "$json" | awk -v id="$id" '
        function get(key,   m) { if (match($0, "\"" key "\":\"?[^,}\"]*")) { m = substr($0, RSTART, RLENGTH); sub(/.*:"?/, "", m); return m } return "" }
        function part(v) { return v == "" || v == "null" ? "-" : sprintf("%.4g", v) }
        { printf "experiment %s  %-9s  step %s/%s  train/loss %s  val/accuracy %s\n", id, get("state"), get("step"), get("steps_total"), part(get("train/loss")), part(get("val/accuracy")) }'
}
last=''
while :; do
    line=$(show) || { [ -z "$daemon" ] || kill -0 "$daemon" 2>/dev/null || { echo "the daemon ended; see $state/daemon.log" >&2; exit 1; }; line=$last; }
    [ "$line" = "$last" ] || echo "$line"
    case $line in *' succeeded '* | *' failed '* | *' cancelled '*)
        [ "$line" = "$last" ] || echo "finished; the page stays at $base/#/experiments/$id until Ctrl-C" ;;
    esac
    last=$line
    sleep 1 &
    wait $! || :
done
