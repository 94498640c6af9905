# The parts notify and live of ci/bench: what listeners cost those who write, and how long what is written takes to arrive.
# Source it; it uses what ci/bench has defined.

# hold SIDE COUNT STATEMENT: so many connections that have run it, {i} being their number; until let_go.
hold() {
    mkfifo "$SCRATCH/held"
    "$LOAD" "$(port "$1")" hold "$2" "$3" <"$SCRATCH/held" >"$SCRATCH/holding" &
    HOLDING=$!
    exec 9>"$SCRATCH/held"
    until grep -q holding "$SCRATCH/holding"; do
        kill -0 "$HOLDING" || return 1
        sleep 0.1
    done
}
let_go() {
    exec 9>&-
    wait "$HOLDING"
    rm "$SCRATCH/held"
    sleep 1
}

# load NAME SIDE KIND COUNT RATE [WHAT...]: records what the generator measures, or only WHAT of it.
load() {
    local name=$1 side=$2 kind=$3 count=$4 rate=$5 what value unit
    shift 5
    "$LOAD" "$(port "$side")" "$kind" "$count" "$seconds" "$rate" >"$SCRATCH/load" || return 1
    while IFS=$'\t' read -r what value unit; do
        if [ $# -eq 0 ] || [[ " $* " == *" ${what// /_} "* ]]; then record "$name, $what" "$unit" "$side" "$value"; fi
    done <"$SCRATCH/load"
}

notify_costs() {
    local side count before after
    printf '%s\n' '\set a random(1, 1000000)' "INSERT INTO bench_notify VALUES (:a, 'a row of some text');" >"$SCRATCH/plain.sql"
    printf '%s\n' '\set a random(1, 1000000)' \
        "INSERT INTO bench_notify VALUES (:a, 'a row of some text') RETURNING pg_notify('bench', 'something has happened');" >"$SCRATCH/notify.sql"
    for side in $sides; do sql "$side" -c 'CREATE TABLE bench_notify (a int, b text)'; done
    for count in 1 8 64; do
        alternate pgbench_run "insert, $count clients" -f "$SCRATCH/plain.sql" -c "$count" -j $((count < 2 ? 1 : 2))
        alternate pgbench_run "and notify, $count clients" -f "$SCRATCH/notify.sql" -c "$count" -j $((count < 2 ? 1 : 2))
    done
    for count in 0 280 1000 10000; do
        for side in $sides; do
            # PostgreSQL keeps a process for each; it is not asked for more.
            if [ "$side" = postgres ] && [ "$count" -gt 280 ]; then continue; fi
            before=$([ "$side" = kalamdb ] && rss_kb "$KALAMDB_PID" || echo 0)
            hold "$side" "$count" 'LISTEN idle_{i}'
            after=$([ "$side" = kalamdb ] && rss_kb "$KALAMDB_PID" || echo 0)
            pgbench_run "8 notify, $count listen idly" "$side" -f "$SCRATCH/notify.sql" -c 8 -j 2
            let_go
            if [ "$side" = kalamdb ] && [ "$count" = 10000 ]; then
                record "10,000 idle listeners, memory" MB kalamdb $(((after - before) / 1024))
            fi
        done
    done
    alternate load "NOTIFY" notify 1 200 latency_p50 latency_p99
}

# memory_of NAME COUNT STATEMENT: of connections that have run it.
memory_of() {
    local before after
    before=$(rss_kb "$KALAMDB_PID")
    hold kalamdb "$2" "$3"
    after=$(rss_kb "$KALAMDB_PID")
    let_go
    record "$1" MB kalamdb $(((after - before) / 1024))
}

live_costs() {
    local count
    runs_on kalamdb || return 0
    load "live query, 1 listener" kalamdb live 1 200 latency_p50 latency_p99
    load "live query, 1 listener" kalamdb live 1 0 commits
    load "live query, 1,000 listeners" kalamdb live 1000 20 latency_p50 latency_p99
    load "live query, 1,000 listeners" kalamdb live 1000 0 deliveries
    load "live query, 10,000 listeners" kalamdb live 10000 3 latency_p50 latency_p99
    load "live query, 10,000 listeners" kalamdb live 10000 0 deliveries
    for count in 1 5000; do load "$count queries of a key" kalamdb keys "$count" 0 commits; done
    load "live query, 50 listeners that come and go" kalamdb resume 50 200
    memory_of "10,000 different live queries, memory" 10000 'LISTEN "SELECT id FROM live_load WHERE room = {i}"'
    memory_of "10,000 times the same live query, memory" 10000 'LISTEN "SELECT id FROM live_load WHERE room = 8"'
    load "live query, 200 listeners, 2 do not read" kalamdb stuck 200 0 deliveries
    record "200 listeners, 2 do not read, memory of the server" MB kalamdb $(($(rss_kb "$KALAMDB_PID") / 1024))
}
