"""Keeps the rows of a query and prints them whenever they have changed: psycopg 3."""

import json
import os
import sys

import psycopg

query = sys.argv[1]
connection = psycopg.connect(
    host=os.environ.get("PGHOST", "127.0.0.1"),
    port=os.environ.get("PGPORT", "5432"),
    user=os.environ.get("PGUSER", "postgres"),
    dbname=os.environ.get("PGDATABASE", "postgres"),
    autocommit=True,
)
channel = query.replace('"', '""')
connection.execute(f'LISTEN "{channel}" WITH (snapshot = true)')
rows = {}
for notification in connection.notifies():
    change = json.loads(notification.payload)
    key = json.dumps(change.get("key"))
    if change["op"] == "reset":
        rows.clear()
    elif change["op"] == "delete":
        rows.pop(key)
    elif "new" in change:
        rows[key] = change["new"]
    if change["op"] == "ready" or change.get("last"):
        print(json.dumps(list(rows.values())), flush=True)
