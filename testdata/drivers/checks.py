"""What the Python driver programs share: connection parameters and one printed line a check."""

import os
import sys

HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = int(os.environ.get("PGPORT", "5432"))
USER = os.environ.get("PGUSER", "postgres")
DATABASE = os.environ.get("PGDATABASE", "postgres")


def equal(name, found, expected):
    """One check: prints it, and ends the program if it fails."""
    same = found == expected or (found != found and expected != expected)
    if not same:
        print(f"not ok - {name}: expected {expected!r}, found {found!r}", flush=True)
        sys.exit(1)
    print(f"ok - {name}", flush=True)
