"""Keeps the rows of a query and prints them whenever they have changed: asyncpg."""

import asyncio
import json
import os
import sys

import asyncpg


async def main(query):
    connection = await asyncpg.connect(
        host=os.environ.get("PGHOST", "127.0.0.1"),
        port=os.environ.get("PGPORT", "5432"),
        user=os.environ.get("PGUSER", "postgres"),
        database=os.environ.get("PGDATABASE", "postgres"),
    )
    rows = {}

    def changed(_connection, _pid, _channel, payload):
        change = json.loads(payload)
        key = json.dumps(change.get("key"))
        if change["op"] == "reset":
            rows.clear()
        elif change["op"] == "delete":
            rows.pop(key)
        elif "new" in change:
            rows[key] = change["new"]
        if change["op"] == "ready" or change.get("last"):
            print(json.dumps(list(rows.values())), flush=True)

    # It registers the callback, and listens; listening again asks for the rows that are there.
    await connection.add_listener(query, changed)
    channel = query.replace('"', '""')
    await connection.execute(f'LISTEN "{channel}" WITH (snapshot = true)')
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
