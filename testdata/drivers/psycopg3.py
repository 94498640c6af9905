"""psycopg 3: server-side parameters in text and binary, COPY, pipeline, cancel, notifications."""

import json
import threading
import time
from datetime import date, datetime, time as clock, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import psycopg
from psycopg.types.json import Json, Jsonb

from checks import DATABASE, HOST, PATIENCE_S, PORT, USER, Live, equal

UTC = timezone.utc
VALUES = [
    ("boolean", True), ("smallint", -32768), ("integer", 2147483647), ("bigint", -(2**63)), ("oid", 4294967295),
    ("real", 1.5), ("double precision", 0.1), ("double precision", float("nan")), ("double precision", float("-inf")),
    ("numeric", Decimal("123456789012345678901234567890.1234567890")), ("numeric", Decimal("-0.00001")),
    ("numeric", Decimal("NaN")), ("numeric", Decimal("100.00")),
    ("text", "naïve 'quoted' \\ text 🐘"), ("text", ""), ("varchar(10)", "varchar"), ("char(4)", "ab  "), ("name", "name"),
    ("bytea", bytes(range(256))), ("bytea", b""),
    ("date", date(2024, 2, 29)), ("date", date(1, 1, 1)), ("time", clock(23, 59, 59, 999999)),
    ("timestamp", datetime(1999, 12, 31, 23, 59, 59, 1)),
    ("timestamptz", datetime(2024, 2, 29, 12, 0, tzinfo=UTC)),
    ("interval", timedelta(days=3, hours=4, microseconds=5)), ("interval", timedelta(days=-1)),
    ("uuid", UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ("integer[]", [1, None, 3]), ("integer[]", []), ("text[]", ["a b", "", None, 'q"\\']), ("numeric[]", [Decimal("1.50")]),
    ("boolean[]", [True, False]), ("double precision[]", [0.5, -1.0]), ("timestamptz[]", [datetime(2024, 1, 1, tzinfo=UTC)]),
    ("uuid[]", [UUID(int=1)]), ("bytea[]", [b"\x00\xff"]), ("date[]", [date(2000, 1, 1)]),
]


def types(connection):
    for binary in (False, True):
        form = "binary" if binary else "text"
        placeholder = "%b" if binary else "%t"
        with connection.cursor(binary=binary) as cursor:
            for sql_type, value in VALUES:
                cursor.execute(f"SELECT {placeholder}::{sql_type}", [value])
                equal(f"{sql_type} {form}", cursor.fetchone()[0], value)
                cursor.execute(f"SELECT {placeholder}::{sql_type}", [None])
                equal(f"{sql_type} null {form}", cursor.fetchone()[0], None)
            for sql_type, wrapper in (("json", Json), ("jsonb", Jsonb)):
                value = {"a": [1, None, "x"], "b": {"c": 1.5}}
                cursor.execute(f"SELECT {placeholder}::{sql_type}", [wrapper(value)])
                equal(f"{sql_type} {form}", cursor.fetchone()[0], value)


def statements(connection):
    connection.execute("CREATE TABLE drv_psycopg (id integer PRIMARY KEY, note text, amount numeric(10,2), at timestamptz)")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO drv_psycopg VALUES (%s, %s, %s, %s)",
            [(i, f"note {i}", Decimal(i) / 4, datetime(2024, 1, 1, tzinfo=UTC)) for i in range(100)],
        )
        equal("executemany", cursor.rowcount, 100)
    for i in range(8):
        row = connection.execute("SELECT note FROM drv_psycopg WHERE id = %s", [i], prepare=True).fetchone()
        equal(f"prepared {i}", row, (f"note {i}",))
    cursor = connection.execute("UPDATE drv_psycopg SET amount = amount * 2 WHERE id < %s RETURNING amount", [3])
    equal("update returning", sorted(r[0] for r in cursor.fetchall()), [Decimal("0.00"), Decimal("0.50"), Decimal("1.00")])
    equal("any(array)", connection.execute("SELECT count(*) FROM drv_psycopg WHERE id = ANY(%s)", [[1, 2, 999]]).fetchone(), (2,))
    cursor = connection.execute("SELECT id, note, amount, at FROM drv_psycopg LIMIT 0")
    equal("column types", [c.type_code for c in cursor.description], [23, 25, 1700, 1184])
    equal("column names", [c.name for c in cursor.description], ["id", "note", "amount", "at"])
    with connection.cursor() as cursor:
        rows = cursor.stream("SELECT id FROM drv_psycopg ORDER BY id")
        equal("stream", sum(r[0] for r in rows), 4950)
    connection.commit()


def copy(connection):
    connection.execute("CREATE TABLE drv_psycopg_copy (id integer, note text, amount numeric)")
    with connection.cursor() as cursor:
        with cursor.copy("COPY drv_psycopg_copy FROM STDIN") as copy_in:
            for row in [(1, "tab\there", Decimal("1.50")), (2, None, None), (3, "back\\slash", Decimal("-3"))]:
                copy_in.write_row(row)
        equal("copy in text", cursor.rowcount, 3)
        with cursor.copy("COPY drv_psycopg_copy FROM STDIN (FORMAT binary)") as copy_in:
            copy_in.set_types(["int4", "text", "numeric"])
            copy_in.write_row((4, "binary", Decimal("4.25")))
        with cursor.copy("COPY (SELECT * FROM drv_psycopg_copy ORDER BY id) TO STDOUT (FORMAT binary)") as copy_out:
            copy_out.set_types(["int4", "text", "numeric"])
            rows = list(copy_out.rows())
        expected = [(1, "tab\there", Decimal("1.50")), (2, None, None), (3, "back\\slash", Decimal("-3")), (4, "binary", Decimal("4.25"))]
        equal("copy out binary", rows, expected)
        with cursor.copy("COPY (SELECT id, note FROM drv_psycopg_copy ORDER BY id) TO STDOUT (FORMAT csv)") as copy_out:
            equal("copy out csv", b"".join(copy_out), b"1,tab\there\n2,\n3,back\\slash\n4,binary\n")
    connection.commit()


def transactions(connection):
    try:
        with connection.transaction():
            connection.execute("INSERT INTO drv_psycopg (id) VALUES (1000)")
            raise psycopg.Rollback
    except psycopg.Rollback:
        pass
    equal("rollback", connection.execute("SELECT count(*) FROM drv_psycopg WHERE id = 1000").fetchone(), (0,))
    connection.commit()
    with connection.transaction():
        connection.execute("INSERT INTO drv_psycopg (id) VALUES (1001)")
    equal("commit", connection.execute("SELECT count(*) FROM drv_psycopg WHERE id = 1001").fetchone(), (1,))
    connection.commit()
    try:
        connection.execute("INSERT INTO drv_psycopg (id) VALUES (1001)")
        equal("duplicate key", "no error", "23505")
    except psycopg.errors.UniqueViolation as error:
        equal("duplicate key", (error.sqlstate, error.diag.constraint_name), ("23505", "drv_psycopg_pkey"))
    equal("failed block", connection.info.transaction_status, psycopg.pq.TransactionStatus.INERROR)
    connection.rollback()
    equal("usable after an error", connection.execute("SELECT 1").fetchone(), (1,))
    connection.commit()


def exported_snapshots(connection):
    def code(other, statement):
        try:
            other.execute(statement)
            return "no error"
        except psycopg.Error as error:
            return error.sqlstate

    def take_over(name, mode="REPEATABLE READ"):
        other.rollback()
        other.execute(f"SET TRANSACTION ISOLATION LEVEL {mode}")
        return code(other, f"SET TRANSACTION SNAPSHOT '{name}'")

    count = "SELECT count(*) FROM drv_psycopg_snap"
    with psycopg.connect(host=HOST, port=PORT, user=USER, dbname=DATABASE) as other:
        other.execute("CREATE TABLE drv_psycopg_snap (id int PRIMARY KEY)")
        other.commit()
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(count)
        other.execute("INSERT INTO drv_psycopg_snap VALUES (1)")
        other.commit()
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()[0]
        second = connection.execute("SELECT pg_export_snapshot()").fetchone()[0]
        equal("snapshots have names of their own", snapshot == second, False)
        equal("snapshot taken over", take_over(snapshot), "no error")
        equal("what it shows", other.execute(count).fetchone(), (0,))
        equal("and goes on showing", other.execute(count).fetchone(), (0,))
        equal("conflict with a later commit", code(other, "DELETE FROM drv_psycopg_snap"), "no error")
        equal("insert of a key committed since", code(other, "INSERT INTO drv_psycopg_snap VALUES (1)"), "23505")
        equal("snapshot of lower isolation", take_over(snapshot, "SERIALIZABLE"), "0A000")
        equal("snapshot under read committed", take_over(snapshot, "READ COMMITTED"), "0A000")
        equal("second snapshot", take_over(second), "no error")
        other.execute("SAVEPOINT s")
        equal("export inside a savepoint", code(other, "SELECT pg_export_snapshot()"), "25001")
        connection.commit()
        equal("still held by who took it over", take_over(second), "22023")
        other.rollback()
        equal("newest again", other.execute(count).fetchone(), (1,))
        other.rollback()
        connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY")
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()[0]
        equal("read-only snapshot to write from", take_over(snapshot, "SERIALIZABLE"), "0A000")
        equal("read-only snapshot to read from", take_over(snapshot, "SERIALIZABLE READ ONLY"), "no error")
        equal("what it shows", other.execute(count).fetchone(), (1,))
        other.rollback()
        connection.rollback()
        other.execute("DROP TABLE drv_psycopg_snap")


def pipeline(connection):
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int4 + 1", [i]) for i in range(10)]
    equal("pipeline", [c.fetchone()[0] for c in cursors], list(range(1, 11)))
    connection.commit()
    try:
        with connection.pipeline() as pipe:
            connection.execute("SELECT 1/%s::int4", [0])
            pipe.sync()
            equal("pipeline error", "no error", "22012")
    except psycopg.errors.DivisionByZero as error:
        equal("pipeline error", error.sqlstate, "22012")
    connection.rollback()
    equal("usable after a pipeline error", connection.execute("SELECT 2").fetchone(), (2,))
    connection.commit()


def cancel(connection):
    threading.Timer(0.3, connection.cancel_safe).start()
    started = time.monotonic()
    try:
        connection.execute("SELECT pg_sleep(30)")
        equal("cancel", "no error", "57014")
    except psycopg.errors.QueryCanceled as error:
        equal("cancel", (error.sqlstate, time.monotonic() - started < 10), ("57014", True))
    connection.rollback()
    equal("usable after cancel", connection.execute("SELECT 3").fetchone(), (3,))
    connection.commit()


def notifications():
    settings = {"host": HOST, "port": PORT, "user": USER, "dbname": DATABASE, "autocommit": True}

    def told(listener, count):
        return list(listener.notifies(timeout=PATIENCE_S, stop_after=count))

    with psycopg.connect(**settings) as listener, psycopg.connect(**settings) as other:
        listener.execute("LISTEN drv_psycopg")
        with other.transaction(force_rollback=True):
            other.execute("NOTIFY drv_psycopg, 'rolled back'")
        with other.transaction():
            other.execute("NOTIFY drv_psycopg, 'naïve 🐘'")
            other.execute("SELECT pg_notify('drv_psycopg', %s)", ["x" * 7999])
        pid = other.info.backend_pid
        expected = [("drv_psycopg", "naïve 🐘", pid), ("drv_psycopg", "x" * 7999, pid)]
        equal("notifications", [(n.channel, n.payload, n.pid) for n in told(listener, 2)], expected)
        if not Live.exists(listener.execute("SELECT version()").fetchone()[0]):
            return
        live = Live("drv_psycopg_live")
        other.execute("DROP TABLE IF EXISTS drv_psycopg_live")
        other.execute(live.create)
        other.execute("INSERT INTO drv_psycopg_live VALUES (0, 7, 'before')")
        listener.execute(f'LISTEN "{live.query}" WITH (snapshot = true)')
        snapshot = told(listener, 2)
        row = {"id": 0, "body": "before"}
        live.equal("live query: snapshot", [n.payload for n in snapshot], [{"op": "snapshot", "key": {"id": 0}, "new": row}, {"op": "ready"}])
        for change in ["DELETE FROM drv_psycopg_live", *live.changes]:
            other.execute(change)
        changes = told(listener, 4)
        gone = {"op": "delete", "key": {"id": 0}, "old": row, "last": True}
        live.equal("live query: changes", [n.payload for n in changes], [gone, *live.events])
        equal("live query: channel", {n.channel for n in snapshot + changes}, {live.query})
        listener.execute(f'UNLISTEN "{live.query}"')
        other.execute("INSERT INTO drv_psycopg_live VALUES (3, 7, 'unheard')")
        other.execute("NOTIFY drv_psycopg, 'after'")
        equal("live query: ended", [n.payload for n in told(listener, 1)], ["after"])
        listener.execute(f'LISTEN "{live.query}" WITH (since = {json.loads(changes[0].payload)["seq"]})')
        missed = {"op": "insert", "key": {"id": 3}, "new": {"id": 3, "body": "unheard"}, "last": True}
        live.equal("live query: since", [n.payload for n in told(listener, 5)], [*live.events, missed, {"op": "ready"}])
        subscriptions(settings, other, live)
        listener.execute("SELECT 1")
        list(listener.notifies(timeout=0.5))
        other.execute("DROP TABLE drv_psycopg_live")
        equal("live query: table dropped", [json.loads(n.payload)["op"] for n in told(listener, 1)], ["reset"])


def subscriptions(settings, other, live):
    """SUBSCRIBE: the rows of a live query as those of a statement that goes on, of COPY, and of a cursor."""
    other.execute("DELETE FROM drv_psycopg_live")
    other.execute("INSERT INTO drv_psycopg_live VALUES (1, 7, 'there'), (2, 7, NULL)")
    subscribe = f"SUBSCRIBE TO {live.query} ORDER BY id WITH (snapshot)"
    with psycopg.connect(**settings) as subscriber:
        rows = subscriber.cursor().stream(subscribe)
        found = [next(rows)[1:] for _ in range(3)]
        equal("subscribe: rows", found, [("snapshot", 1, "there"), ("snapshot", 2, None), ("ready", None, None)])
        other.execute("UPDATE drv_psycopg_live SET body = 'x' WHERE id = 2")
        found = [next(rows)[1:] for _ in range(2)]
        equal("subscribe: changes", found, [("old", 2, None), ("update", 2, "x")])
        # Closing it cancels the statement.
        rows.close()
        with subscriber.cursor().copy(f"COPY ({subscribe}) TO STDOUT") as copy:
            lines = copy.rows()
            found = [next(lines)[1:] for _ in range(3)]
            equal("subscribe: copy", found, [("snapshot", "1", "there"), ("snapshot", "2", "x"), ("ready", None, None)])
            subscriber.cancel()
            try:
                next(lines)
            except psycopg.errors.QueryCanceled:
                pass
        with subscriber.transaction():
            subscriber.execute(f"DECLARE changes CURSOR FOR SUBSCRIBE TO {live.query}")
            found = subscriber.execute("FETCH ALL changes").fetchall()
            equal("subscribe: cursor", [row[1] for row in found], ["ready"])
            other.execute("DELETE FROM drv_psycopg_live WHERE id = 1")
            found = subscriber.execute("FETCH ALL changes WITH (timeout = '20s')").fetchall()
            equal("subscribe: fetched", [row[1:] for row in found], [("delete", 1, "there")])


def main():
    with psycopg.connect(host=HOST, port=PORT, user=USER, dbname=DATABASE, options="-c TimeZone=UTC") as connection:
        equal("server version", connection.info.server_version // 10000, 15)
        connection.execute("DROP TABLE IF EXISTS drv_psycopg")
        connection.execute("DROP TABLE IF EXISTS drv_psycopg_copy")
        for check in (types, statements, copy, transactions, exported_snapshots, pipeline, cancel):
            check(connection)
        connection.execute("DROP TABLE drv_psycopg")
        connection.execute("DROP TABLE drv_psycopg_copy")
    notifications()


main()
