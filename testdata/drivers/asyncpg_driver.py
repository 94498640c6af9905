"""asyncpg: binary protocol only, named prepared statements, cursors, COPY, its own type look-ups, listeners."""

import asyncio
import io
import json
from datetime import date, datetime, time as clock, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import asyncpg

from checks import DATABASE, HOST, PATIENCE_S, PORT, USER, Live, equal

UTC = timezone.utc
VALUES = [
    ("boolean", False), ("smallint", 32767), ("integer", -2147483648), ("bigint", 2**63 - 1), ("oid", 4294967295),
    ("real", -0.25), ("double precision", 1e-300), ("double precision", float("inf")),
    ("numeric", Decimal("98765432109876543210.0123456789")), ("numeric", Decimal("1E+20")), ("numeric", Decimal("0.00")),
    ("text", "naïve 🐘"), ("varchar", ""), ("char(4)", "ab  "), ("name", "name"), ("bytea", bytes(range(256))),
    ("date", date(2024, 2, 29)), ("time", clock(12, 34, 56, 789)), ("timestamp", datetime(2038, 1, 19, 3, 14, 8, 1)),
    ("timestamptz", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)), ("interval", timedelta(days=40, seconds=-1)),
    ("uuid", UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")), ("json", '{"a": 1}'), ("jsonb", '{"a": 1}'),
    ("integer[]", [1, None, 3]), ("bigint[]", []), ("text[]", ["a", None, '"']), ("numeric[]", [Decimal("1.50")]),
    ("uuid[]", [UUID(int=7)]), ("timestamptz[]", [datetime(2024, 1, 1, tzinfo=UTC)]), ("boolean[]", [True]),
]


async def types(connection):
    for sql_type, value in VALUES:
        equal(f"{sql_type} {value!r:.30}", await connection.fetchval(f"SELECT $1::{sql_type}", value), value)
        equal(f"{sql_type} null", await connection.fetchval(f"SELECT $1::{sql_type}", None), None)


async def statements(connection):
    await connection.execute("CREATE TABLE drv_asyncpg (id integer PRIMARY KEY, note text, amount numeric, tags text[])")
    rows = [(i, f"note {i}", Decimal(i), [f"t{i}"]) for i in range(200)]
    await connection.executemany("INSERT INTO drv_asyncpg VALUES ($1, $2, $3, $4)", rows)
    statement = await connection.prepare("SELECT note, amount, tags FROM drv_asyncpg WHERE id = $1")
    equal("parameter types", [t.name for t in statement.get_parameters()], ["int4"])
    equal("column types", [a.type.name for a in statement.get_attributes()], ["text", "numeric", "text[]"])
    for i in (0, 5, 199):
        equal(f"prepared {i}", tuple(await statement.fetchrow(i)), (f"note {i}", Decimal(i), [f"t{i}"]))
    equal("status", await connection.execute("UPDATE drv_asyncpg SET note = 'x' WHERE id < $1", 10), "UPDATE 10")
    row = await connection.fetchrow("DELETE FROM drv_asyncpg WHERE id = $1 RETURNING *", 7)
    equal("delete returning", dict(row), {"id": 7, "note": "x", "amount": Decimal(7), "tags": ["t7"]})
    async with connection.transaction():
        found = []
        async for record in connection.cursor("SELECT id FROM drv_asyncpg ORDER BY id", prefetch=13):
            found.append(record["id"])
        equal("portal in pieces", found, [i for i in range(200) if i != 7])
    equal("simple script", await connection.execute("SELECT 1; SELECT 2, 3"), "SELECT 1")


async def copy(connection):
    columns = ["id", "note", "amount", "tags"]
    records = [(1000 + i, None if i % 2 else "copied", Decimal("0.5"), ["a", None]) for i in range(50)]
    status = await connection.copy_records_to_table("drv_asyncpg", records=records, columns=columns)
    equal("copy in binary", status, "COPY 50")
    out = io.BytesIO()
    await connection.copy_from_query("SELECT id, note FROM drv_asyncpg WHERE id >= $1 ORDER BY id LIMIT 2", 1000, output=out)
    equal("copy out text", out.getvalue(), b"1000\tcopied\n1001\t\\N\n")
    source = io.BytesIO(b"2000,csv\n")
    await connection.copy_to_table("drv_asyncpg", source=source, columns=["id", "note"], format="csv")
    equal("copy in csv", await connection.fetchval("SELECT note FROM drv_asyncpg WHERE id = 2000"), "csv")


async def transactions(connection):
    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO drv_asyncpg (id) VALUES (3000)")
            raise KeyError
    except KeyError:
        pass
    equal("rollback", await connection.fetchval("SELECT count(*) FROM drv_asyncpg WHERE id = 3000"), 0)
    async with connection.transaction():
        await connection.execute("INSERT INTO drv_asyncpg (id) VALUES (3001)")
    equal("commit", await connection.fetchval("SELECT count(*) FROM drv_asyncpg WHERE id = 3001"), 1)
    try:
        await connection.execute("INSERT INTO drv_asyncpg (id) VALUES ($1)", 3001)
        equal("duplicate key", "no error", "23505")
    except asyncpg.UniqueViolationError as error:
        equal("duplicate key", (error.sqlstate, error.table_name, error.constraint_name), ("23505", "drv_asyncpg", "drv_asyncpg_pkey"))
    try:
        await connection.fetch("SELECT * FROM drv_missing WHERE a = $1", 1)
        equal("missing table", "no error", "42P01")
    except asyncpg.UndefinedTableError as error:
        equal("missing table", (error.sqlstate, error.position), ("42P01", "15"))
    equal("usable after an error", await connection.fetchval("SELECT 1"), 1)


async def cancel(connection):
    try:
        await connection.execute("SELECT pg_sleep(30)", timeout=0.5)
        equal("cancel", "no error", "timeout")
    except TimeoutError:
        equal("cancel", True, True)
    equal("usable after cancel", await connection.fetchval("SELECT 2"), 2)
    await connection.execute("SET statement_timeout = '200ms'")
    try:
        await connection.execute("SELECT pg_sleep(30)")
        equal("statement_timeout", "no error", "57014")
    except asyncpg.QueryCanceledError as error:
        equal("statement_timeout", str(error), "canceling statement due to statement timeout")
    await connection.execute("RESET statement_timeout")


async def pool():
    async with asyncpg.create_pool(host=HOST, port=PORT, user=USER, database=DATABASE, min_size=2, max_size=4) as connections:
        async def one(i):
            async with connections.acquire() as connection:
                return await connection.fetchval("SELECT $1::int4 * 2", i)

        equal("pool", await asyncio.gather(*(one(i) for i in range(20))), [2 * i for i in range(20)])


async def notifications(connection):
    listener = await asyncpg.connect(host=HOST, port=PORT, user=USER, database=DATABASE)
    queue = asyncio.Queue()

    def callback(_, pid, channel, payload):
        queue.put_nowait((pid, channel, payload))

    async def told():
        return await asyncio.wait_for(queue.get(), PATIENCE_S)

    await listener.add_listener("drv_asyncpg", callback)
    async with connection.transaction():
        await connection.execute("NOTIFY drv_asyncpg, 'first'")
        await connection.execute("SELECT pg_notify('drv_asyncpg', $1)", "naïve 🐘")
    pid = connection.get_server_pid()
    expected = [(pid, "drv_asyncpg", "first"), (pid, "drv_asyncpg", "naïve 🐘")]
    equal("notifications", [await told(), await told()], expected)
    if Live.exists(await connection.fetchval("SELECT version()")):
        live = Live("drv_asyncpg_live")
        await connection.execute("DROP TABLE IF EXISTS drv_asyncpg_live")
        await connection.execute(live.create)
        await listener.add_listener(live.query, callback)
        # asyncpg knows the callback only once LISTEN has returned and drops what came before it. Saying LISTEN again
        # begins the query again: with all that there is to tell, behind what the first may have told.
        await connection.execute("INSERT INTO drv_asyncpg_live VALUES (0, 7, 'before')")
        await listener.execute(f'LISTEN "{live.query}" WITH (snapshot = true)')
        while json.loads((first := await told())[2])["op"] != "snapshot":
            pass
        for change in ["DELETE FROM drv_asyncpg_live", *live.changes]:
            await connection.execute(change)
        found = [first] + [await told() for _ in range(5)]
        row = {"id": 0, "body": "before"}
        snapshot = [{"op": "snapshot", "key": {"id": 0}, "new": row}, {"op": "ready"}]
        gone = {"op": "delete", "key": {"id": 0}, "old": row, "last": True}
        live.equal("live query", [payload for _, _, payload in found], [*snapshot, gone, *live.events])
        equal("live query: channel", {channel for _, channel, _ in found}, {live.query})
        await listener.remove_listener(live.query, callback)
        equal("live query: ended", await listener.fetch("SELECT pg_listening_channels()"), [("drv_asyncpg",)])
        await connection.execute("DROP TABLE drv_asyncpg_live")
    await listener.reset()
    equal("listeners after a reset", await listener.fetch("SELECT pg_listening_channels()"), [])
    await listener.close()


async def main():
    connection = await asyncpg.connect(host=HOST, port=PORT, user=USER, database=DATABASE)
    equal("server version", connection.get_server_version().major, 15)
    await connection.execute("DROP TABLE IF EXISTS drv_asyncpg")
    for check in (types, statements, copy, transactions, cancel, notifications):
        await check(connection)
    await connection.reset()
    await pool()
    await connection.execute("DROP TABLE drv_asyncpg")
    await connection.close()


asyncio.run(main())
