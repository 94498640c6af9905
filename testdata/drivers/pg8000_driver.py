"""pg8000: pure Python, text format, statements prepared by the extended protocol, COPY through streams."""

import io
from datetime import date, datetime, time as clock, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pg8000.dbapi
import pg8000.native

from checks import DATABASE, HOST, PORT, USER, equal

UTC = timezone.utc
VALUES = [
    ("boolean", True), ("smallint", -1), ("integer", 2147483647), ("bigint", 2**62), ("oid", 4294967295), ("real", 1.5),
    ("double precision", 0.1), ("numeric", Decimal("12345678901234567890.50")), ("text", "naïve 'quoted' 🐘"),
    ("varchar(5)", "abc"), ("char(4)", "ab  "), ("bytea", bytes(range(256))), ("date", date(2024, 2, 29)),
    ("time", clock(1, 2, 3, 4)), ("timestamp", datetime(2024, 2, 29, 1, 2, 3, 4)),
    ("timestamptz", datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)), ("interval", timedelta(days=2, seconds=3)),
    ("uuid", UUID(int=99)), ("integer[]", [1, None, 3]), ("text[]", ["a b", None, ""]), ("numeric[]", [Decimal("1.50")]),
]


def types(connection):
    for sql_type, value in VALUES:
        equal(sql_type, connection.run(f"SELECT CAST(:v AS {sql_type})", v=value), [[value]])
        equal(f"{sql_type} null", connection.run(f"SELECT CAST(:v AS {sql_type})", v=None), [[None]])
    for sql_type in ("json", "jsonb"):
        equal(sql_type, connection.run(f"SELECT CAST(:v AS {sql_type})", v='{"a": [1, null]}'), [[{"a": [1, None]}]])


def statements(connection):
    connection.run("CREATE TABLE drv_pg8000 (id integer PRIMARY KEY, note text)")
    insert = connection.prepare("INSERT INTO drv_pg8000 VALUES (:id, :note)")
    for i in range(20):
        insert.run(id=i, note=f"note {i}")
    insert.close()
    equal("prepared insert", connection.run("SELECT count(*), max(note) FROM drv_pg8000"), [[20, "note 9"]])
    equal("column names", [c["name"] for c in connection.columns], ["count", "max"])
    connection.run("UPDATE drv_pg8000 SET note = NULL WHERE id < :n", n=5)
    equal("row count", connection.row_count, 5)


def copy(connection):
    connection.run("COPY drv_pg8000 FROM STDIN", stream=io.BytesIO(b"100\tcopied\n101\t\\N\n"))
    out = io.BytesIO()
    connection.run("COPY (SELECT * FROM drv_pg8000 WHERE id >= 100 ORDER BY id) TO STDOUT WITH (FORMAT csv)", stream=out)
    equal("copy in and out", out.getvalue(), b"100,copied\n101,\n")


def transactions(connection):
    connection.run("BEGIN")
    connection.run("INSERT INTO drv_pg8000 VALUES (200, 'gone')")
    connection.run("ROLLBACK")
    equal("rollback", connection.run("SELECT count(*) FROM drv_pg8000 WHERE id = 200"), [[0]])
    try:
        connection.run("INSERT INTO drv_pg8000 VALUES (1, 'again')")
        equal("duplicate key", "no error", "23505")
    except pg8000.native.DatabaseError as error:
        fields = error.args[0]
        equal("duplicate key", (fields["C"], fields["n"], fields["S"]), ("23505", "drv_pg8000_pkey", "ERROR"))
    equal("usable after an error", connection.run("SELECT 1"), [[1]])


def dbapi():
    connection = pg8000.dbapi.connect(host=HOST, port=PORT, user=USER, database=DATABASE)
    cursor = connection.cursor()
    cursor.execute("INSERT INTO drv_pg8000 VALUES (%s, %s)", (300, "dbapi"))
    connection.commit()
    cursor.executemany("INSERT INTO drv_pg8000 VALUES (%s, %s)", [(301, "a"), (302, "b")])
    connection.rollback()
    cursor.execute("SELECT id, note FROM drv_pg8000 WHERE id >= 300")
    equal("dbapi", cursor.fetchall(), ([300, "dbapi"],))
    connection.commit()
    connection.close()


def main():
    connection = pg8000.native.Connection(USER, host=HOST, port=PORT, database=DATABASE)
    connection.run("DROP TABLE IF EXISTS drv_pg8000")
    types(connection)
    statements(connection)
    copy(connection)
    transactions(connection)
    dbapi()
    connection.run("DROP TABLE drv_pg8000")
    connection.close()


main()
