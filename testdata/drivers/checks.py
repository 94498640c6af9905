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


def equal(name, found, expected):
    """One check: prints it, and ends the program if it fails."""
    same = found == expected or (found != found and expected != expected)
    if not same:
        print(f"not ok - {name}: expected {expected!r}, found {found!r}", flush=True)
        sys.exit(1)
    print(f"ok - {name}", flush=True)


class Live:
    """The live query of live.json over a table, the statements that change the table, and what is then told: of room 7 only."""

    def __init__(self, table):
        with open(os.path.join(os.path.dirname(__file__), "live.json"), encoding="utf-8") as file:
            told = json.load(file)
        self.create, self.query = told["create"].format(table), told["query"].format(table)
        self.changes, self.events = [change.format(table) for change in told["changes"]], told["events"]

    @staticmethod
    def exists(version):
        """Whether the server, by its version(), has live queries; what is skipped on PostgreSQL is said."""
        if "KalamDB" not in version:
            print("SKIPPED - live query: PostgreSQL has none", flush=True)
        return "KalamDB" in version

    @staticmethod
    def equal(name, payloads, expected):
        """One check of payloads; their positions ascend, and are not compared otherwise."""
        events = [json.loads(payload) for payload in payloads]
        positions = [event.pop("seq") for event in events]
        equal(name, events, expected)
        equal(f"{name}: positions", positions, sorted(positions))
