"""What the Python driver programs share: connection parameters, one printed line a check, what a live query tells."""

import json
import os
import sys

HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = int(os.environ.get("PGPORT", "5432"))
USER = os.environ.get("PGUSER", "postgres")
DATABASE = os.environ.get("PGDATABASE", "postgres")
# How long a notification may take, in seconds.
PATIENCE_S = 20

# A live query, a statement for each change, and what is then told: of room 7 only.
LIVE_TABLE = "CREATE TABLE {0} (id integer PRIMARY KEY, room integer, body text)"
LIVE_QUERY = "SELECT id, body FROM {0} WHERE room = 7"
LIVE_CHANGES = [
    "INSERT INTO {0} VALUES (1, 7, 'first'), (2, 8, 'elsewhere')",
    "UPDATE {0} SET body = NULL",
    "DELETE FROM {0}",
]
LIVE_EVENTS = [
    {"op": "insert", "key": {"id": 1}, "new": {"id": 1, "body": "first"}, "last": True},
    {"op": "update", "key": {"id": 1}, "new": {"id": 1, "body": None}, "old": {"id": 1, "body": "first"}, "last": True},
    {"op": "delete", "key": {"id": 1}, "old": {"id": 1, "body": None}, "last": True},
]


def equal(name, found, expected):
    """One check: prints it, and ends the program if it fails."""
    same = found == expected or (found != found and expected != expected)
    if not same:
        print(f"not ok - {name}: expected {expected!r}, found {found!r}", flush=True)
        sys.exit(1)
    print(f"ok - {name}", flush=True)


def has_live_queries(version):
    """Whether the server, by its version(), has live queries; what is skipped on PostgreSQL is said."""
    if "KalamDB" not in version:
        print("SKIPPED - live query: PostgreSQL has none", flush=True)
        return False
    return True


def live(name, payloads, expected):
    """One check of a live query's payloads; their positions ascend, and are not compared otherwise."""
    events = [json.loads(payload) for payload in payloads]
    positions = [event.pop("seq") for event in events]
    equal(name, events, expected)
    equal(f"{name}: positions", positions, sorted(positions))
