# What the scripts of ci/ share: free ports, a private PostgreSQL 15, our server. Source it; do not run it.
# Everything started here is stopped by its own process id when the script ends.

PG_BIN=/usr/lib/postgresql/15/bin
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/kalamdb/target}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kalamdb
SCRATCH=$(mktemp -d)
chmod 755 "$SCRATCH"
STARTED=()

# Sends SIGINT (PostgreSQL's fast shutdown, our graceful stop) to what was started, waits, and removes the scratch files.
stop_all() {
    local status=$? pid
    for pid in "${STARTED[@]}"; do
        stop_one "$pid"
    done
    rm -rf "$SCRATCH"
    exit "$status"
}
trap stop_all EXIT

stop_one() {
    local pid=$1 tries=0
    kill -INT "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -gt 200 ] && kill -KILL "$pid" 2>/dev/null
        sleep 0.1
    done
}

# A loopback port that nothing listens on, below the range the kernel hands out itself.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# wait_for HOST PORT LOG: until sessions are accepted, at most 60 s.
wait_for() {
    local deadline=$((SECONDS + 60))
    until psql -X -q -h "$1" -p "$2" -U postgres -d postgres -c 'SELECT 1' >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            echo "no server on $1:$2 after 60 s; its log:" >&2
            tail -20 "$3" >&2
            return 1
        fi
        sleep 0.02
    done
}

# start_postgres [SETTING...]: a new cluster; sets PG_PORT, PG_PID and PG_DIR. PostgreSQL refuses to run as root.
start_postgres() {
    PG_DIR=$SCRATCH/postgres
    PG_PORT=$(free_port)
    mkdir "$PG_DIR"
    local as=()
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres "$PG_DIR"
        as=(setpriv --reuid=postgres --regid=postgres --init-groups --reset-env)
    fi
    "${as[@]}" "$PG_BIN/initdb" -D "$PG_DIR/data" -A trust -U postgres --locale=C.UTF-8 --encoding=UTF8 >"$SCRATCH/initdb.log"
    local options=(-c timezone=UTC -c log_timezone=UTC -c "unix_socket_directories=$PG_DIR" -c listen_addresses=127.0.0.1) setting
    for setting in "$@"; do
        options+=(-c "$setting")
    done
    "${as[@]}" "$PG_BIN/postgres" -D "$PG_DIR/data" -p "$PG_PORT" "${options[@]}" >"$SCRATCH/postgres.log" 2>&1 &
    PG_PID=$!
    STARTED+=("$PG_PID")
    wait_for 127.0.0.1 "$PG_PORT" "$SCRATCH/postgres.log"
}

# start_kalamdb BINARY [FLAG...]: on $SCRATCH/kalamdb; sets KALAMDB_PORT and KALAMDB_PID.
start_kalamdb() {
    local binary=$1
    shift
    KALAMDB_PORT=${KALAMDB_PORT:-$(free_port)}
    "$binary" --data-dir "$SCRATCH/kalamdb" --listen "127.0.0.1:$KALAMDB_PORT" "$@" >>"$SCRATCH/kalamdb.log" 2>&1 &
    KALAMDB_PID=$!
    STARTED+=("$KALAMDB_PID")
    wait_for 127.0.0.1 "$KALAMDB_PORT" "$SCRATCH/kalamdb.log"
}
