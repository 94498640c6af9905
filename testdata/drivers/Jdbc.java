// pgjdbc: server-prepared statements (text first, binary once prepared), batches, fetch size, COPY, cancel, metadata, notifications.
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

public class Jdbc {
    static void equal(String name, Object found, Object expected) {
        if (!Objects.deepEquals(found, expected)) {
            System.out.println("not ok - " + name + ": expected " + expected + ", found " + found);
            System.exit(1);
        }
        System.out.println("ok - " + name);
    }

    static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null ? otherwise : value;
    }

    static Connection connect(String options) throws SQLException {
        String url = "jdbc:postgresql://" + env("PGHOST", "127.0.0.1") + ":" + env("PGPORT", "5432") + "/"
            + env("PGDATABASE", "postgres") + "?user=" + env("PGUSER", "postgres") + options;
        return DriverManager.getConnection(url);
    }

    interface Check { void run(Connection c) throws Exception; }

    static String failure(String name, Check check, Connection c) throws Exception {
        try {
            check.run(c);
        } catch (SQLException error) {
            return error.getSQLState();
        }
        return "no error";
    }

    static Object one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            r.next();
            return r.getObject(1);
        }
    }

    static PGobject object(String type, String value) throws SQLException {
        PGobject object = new PGobject();
        object.setType(type);
        object.setValue(value);
        return object;
    }

    static void types(Connection c) throws Exception {
        Object[][] values = {
            {"boolean", true}, {"integer", -2147483648}, {"bigint", Long.MAX_VALUE}, {"real", 1.5f},
            {"double precision", 0.1}, {"double precision", Double.NaN}, {"numeric", new BigDecimal("12345678901234567890.50")},
            {"text", "naïve 'quoted' \uD83D\uDC18"}, {"varchar(5)", "abc"}, {"bytea", new byte[] {0, 1, -2, -1}},
            {"uuid", UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")},
            {"json", object("json", "{\"a\": [1, null]}")}, {"jsonb", object("jsonb", "{\"a\": 1}")},
        };
        for (Object[] value : values) {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::" + value[0])) {
                s.unwrap(PGStatement.class).setPrepareThreshold(2);
                for (int round = 0; round < 5; round++) {
                    s.setObject(1, value[1]);
                    try (ResultSet r = s.executeQuery()) {
                        r.next();
                        equal(value[0] + " round " + round, r.getObject(1), value[1]);
                    }
                }
            }
            try (PreparedStatement s = c.prepareStatement("SELECT ?::" + value[0])) {
                s.setObject(1, null);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    equal(value[0] + " null", r.getObject(1), null);
                }
            }
        }
        times(c);
        arrays(c);
    }

    static void times(Connection c) throws Exception {
        Object[][] values = {
            {"date", LocalDate.of(2024, 2, 29)}, {"time", LocalTime.of(23, 59, 59, 999999000)},
            {"timestamp", LocalDateTime.of(2024, 2, 29, 1, 2, 3, 4000)},
            {"timestamptz", OffsetDateTime.of(2024, 2, 29, 1, 2, 3, 0, ZoneOffset.UTC)},
        };
        for (Object[] value : values) {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::" + value[0])) {
                s.unwrap(PGStatement.class).setPrepareThreshold(2);
                for (int round = 0; round < 5; round++) {
                    s.setObject(1, value[1]);
                    try (ResultSet r = s.executeQuery()) {
                        r.next();
                        equal(value[0] + " round " + round, r.getObject(1, value[1].getClass()), value[1]);
                    }
                }
            }
        }
        equal("interval", one(c, "SELECT interval '1 year 2 days 03:04:05.5'").toString(), "1 years 0 mons 2 days 3 hours 4 mins 5.5 secs");
    }

    static void arrays(Connection c) throws Exception {
        Object[][] values = {
            {"int4", new Integer[] {1, null, 3}}, {"int8", new Long[] {}}, {"text", new String[] {"a b", null, "q\"\\"}},
            {"numeric", new BigDecimal[] {new BigDecimal("1.50")}}, {"float8", new Double[] {0.5, -1.0}}, {"bool", new Boolean[] {true, false}},
        };
        for (Object[] value : values) {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::" + value[0] + "[]")) {
                s.unwrap(PGStatement.class).setPrepareThreshold(2);
                for (int round = 0; round < 4; round++) {
                    s.setArray(1, c.createArrayOf((String) value[0], (Object[]) value[1]));
                    try (ResultSet r = s.executeQuery()) {
                        r.next();
                        equal(value[0] + "[] round " + round, Arrays.toString((Object[]) r.getArray(1).getArray()), Arrays.toString((Object[]) value[1]));
                    }
                }
            }
        }
    }

    static void statements(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE drv_jdbc (id integer PRIMARY KEY, note text, amount numeric(10,2), at timestamptz)");
        }
        try (PreparedStatement s = c.prepareStatement("INSERT INTO drv_jdbc VALUES (?, ?, ?, ?)")) {
            for (int i = 0; i < 100; i++) {
                s.setInt(1, i);
                s.setString(2, "note " + i);
                s.setBigDecimal(3, new BigDecimal(i).movePointLeft(2));
                s.setTimestamp(4, Timestamp.from(Instant.ofEpochSecond(i)));
                s.addBatch();
            }
            equal("batch", Arrays.stream(s.executeBatch()).sum(), 100);
        }
        try (PreparedStatement s = c.prepareStatement("SELECT id, note, amount, at FROM drv_jdbc WHERE id >= ? ORDER BY id LIMIT 2")) {
            for (int round = 0; round < 8; round++) {
                s.setInt(1, 10 + round);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    equal("select round " + round, List.of(r.getInt(1), r.getString(2), r.getBigDecimal(3), r.getTimestamp(4).toInstant()),
                        List.of(10 + round, "note " + (10 + round), new BigDecimal(10 + round).movePointLeft(2), Instant.ofEpochSecond(10 + round)));
                }
            }
            ResultSetMetaData columns = s.getMetaData();
            equal("column types", columns.getColumnTypeName(3) + " " + columns.getPrecision(3) + " " + columns.getScale(3) + " " + columns.getColumnTypeName(4), "numeric 10 2 timestamptz");
        }
        try (PreparedStatement s = c.prepareStatement("INSERT INTO drv_jdbc (id) VALUES (?)", new String[] {"id"})) {
            s.setInt(1, 500);
            s.executeUpdate();
            try (ResultSet keys = s.getGeneratedKeys()) {
                keys.next();
                equal("generated keys", keys.getInt(1), 500);
            }
        }
        try (Statement s = c.createStatement()) {
            equal("update count", s.executeUpdate("UPDATE drv_jdbc SET note = 'x' WHERE id < 5"), 5);
            s.execute("SELECT 1; SELECT 2");
            equal("several results", s.getMoreResults(), true);
        }
    }

    static void metadata(Connection c) throws Exception {
        DatabaseMetaData metadata = c.getMetaData();
        equal("major version", metadata.getDatabaseMajorVersion(), 15);
        List<String> found = new ArrayList<>();
        try (ResultSet r = metadata.getTables(null, null, "drv_jdbc", new String[] {"TABLE"})) {
            while (r.next()) found.add(r.getString("TABLE_NAME"));
        }
        try (ResultSet r = metadata.getColumns(null, null, "drv_jdbc", null)) {
            while (r.next()) found.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME"));
        }
        equal("metadata", found, List.of("drv_jdbc", "id int4", "note text", "amount numeric", "at timestamptz"));
    }

    static void copy(Connection c) throws Exception {
        CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
        equal("copy in", copy.copyIn("COPY drv_jdbc (id, note) FROM STDIN", new StringReader("1000\tcopied\n1001\t\\N\n")), 2L);
        StringWriter out = new StringWriter();
        copy.copyOut("COPY (SELECT id, note FROM drv_jdbc WHERE id >= 1000 ORDER BY id) TO STDOUT (FORMAT csv)", out);
        equal("copy out", out.toString(), "1000,copied\n1001,\n");
        String state = failure("copy error", x -> copy.copyIn("COPY drv_jdbc (id, note) FROM STDIN", new StringReader("x\ty\n")), c);
        equal("copy error", state, "22P02");
        equal("usable after a copy error", one(c, "SELECT 1"), 1);
    }

    static void transactions(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.executeUpdate("INSERT INTO drv_jdbc (id) VALUES (2000)");
            c.rollback();
            s.executeUpdate("INSERT INTO drv_jdbc (id) VALUES (2001)");
            c.commit();
            equal("commit and rollback", one(c, "SELECT sum(id) FROM drv_jdbc WHERE id >= 2000"), 2001L);
            s.setFetchSize(7);
            int rows = 0;
            try (ResultSet r = s.executeQuery("SELECT id FROM drv_jdbc ORDER BY id")) {
                while (r.next()) rows++;
            }
            equal("fetch size", rows, 104);
            c.commit();
        }
        try (Statement s = c.createStatement()) {
            s.executeUpdate("INSERT INTO drv_jdbc (id) VALUES (2001)");
            equal("duplicate key", "no error", "23505");
        } catch (PSQLException error) {
            equal("duplicate key", error.getSQLState() + " " + error.getServerErrorMessage().getConstraint(), "23505 drv_jdbc_pkey");
        }
        equal("failed block", failure("failed block", x -> one(x, "SELECT 1"), c), "25P02");
        c.rollback();
        equal("usable after an error", one(c, "SELECT 1"), 1);
        c.setAutoCommit(true);
    }

    static void cancel(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            Thread canceller = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    s.cancel();
                } catch (Exception error) {
                    throw new IllegalStateException(error);
                }
            });
            canceller.start();
            equal("cancel", failure("cancel", x -> s.executeQuery("SELECT pg_sleep(30)"), c), "57014");
            canceller.join();
            s.setQueryTimeout(1);
            equal("query timeout", failure("query timeout", x -> s.executeQuery("SELECT pg_sleep(30)"), c), "57014");
        }
        equal("usable after cancel", one(c, "SELECT 2"), 2);
    }

    // The next `count` notifications, waiting a bounded time for them.
    static List<PGNotification> told(Connection listener, int count) throws Exception {
        List<PGNotification> found = new ArrayList<>();
        long deadline = System.nanoTime() + 20_000_000_000L;
        while (found.size() < count && System.nanoTime() < deadline) {
            PGNotification[] some = listener.unwrap(PGConnection.class).getNotifications(500);
            if (some != null) found.addAll(List.of(some));
        }
        return found;
    }

    // What is told of a live query, without the positions.
    static List<String> payloads(List<PGNotification> told) {
        return told.stream().map(n -> n.getParameter().replaceFirst(",\"seq\":\\d+", "")).toList();
    }

    static void notifications(Connection c) throws Exception {
        try (Connection other = connect(""); Statement listen = c.createStatement(); Statement s = other.createStatement()) {
            listen.execute("LISTEN drv_jdbc");
            other.setAutoCommit(false);
            s.execute("NOTIFY drv_jdbc, 'rolled back'");
            other.rollback();
            s.execute("NOTIFY drv_jdbc, 'first'");
            s.execute("SELECT pg_notify('drv_jdbc', 'naïve \uD83D\uDC18')");
            other.commit();
            other.setAutoCommit(true);
            int pid = other.unwrap(PGConnection.class).getBackendPID();
            List<List<Object>> found = new ArrayList<>();
            for (PGNotification n : told(c, 2)) found.add(List.of(n.getName(), n.getParameter(), n.getPID()));
            equal("notifications", found, List.of(List.of("drv_jdbc", "first", pid), List.of("drv_jdbc", "naïve \uD83D\uDC18", pid)));
            if (one(c, "SELECT version()").toString().contains("KalamDB")) {
                live(c, listen, s);
            } else {
                System.out.println("SKIPPED - live query: PostgreSQL has none");
            }
            listen.execute("UNLISTEN *");
        }
    }

    static void live(Connection c, Statement listen, Statement s) throws Exception {
        String query = "SELECT id, body FROM drv_jdbc_live WHERE room = 7";
        s.execute("DROP TABLE IF EXISTS drv_jdbc_live");
        s.execute("CREATE TABLE drv_jdbc_live (id integer PRIMARY KEY, room integer, body text)");
        listen.execute("LISTEN \"" + query + "\"");
        s.execute("INSERT INTO drv_jdbc_live VALUES (1, 7, 'first'), (2, 8, 'elsewhere')");
        s.execute("UPDATE drv_jdbc_live SET body = NULL");
        s.execute("DELETE FROM drv_jdbc_live");
        List<PGNotification> told = told(c, 4);
        equal("live query", payloads(told), List.of(
            "{\"op\":\"ready\"}",
            "{\"op\":\"insert\",\"key\":{\"id\":1},\"new\":{\"id\":1,\"body\":\"first\"},\"last\":true}",
            "{\"op\":\"update\",\"key\":{\"id\":1},\"new\":{\"id\":1,\"body\":null},\"old\":{\"id\":1,\"body\":\"first\"},\"last\":true}",
            "{\"op\":\"delete\",\"key\":{\"id\":1},\"old\":{\"id\":1,\"body\":null},\"last\":true}"));
        equal("live query: channel", told.stream().map(PGNotification::getName).distinct().toList(), List.of(query));
        listen.execute("UNLISTEN \"" + query + "\"");
        s.execute("DROP TABLE drv_jdbc_live");
        s.execute("NOTIFY drv_jdbc, 'after'");
        equal("live query: ended", payloads(told(c, 1)), List.of("after"));
    }

    public static void main(String[] arguments) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        Check[] checks = {Jdbc::types, Jdbc::statements, Jdbc::metadata, Jdbc::copy, Jdbc::transactions, Jdbc::cancel, Jdbc::notifications};
        for (String options : new String[] {"", "&preferQueryMode=simple"}) {
            try (Connection c = connect(options)) {
                System.out.println("# " + (options.isEmpty() ? "extended protocol" : "simple protocol"));
                c.createStatement().execute("DROP TABLE IF EXISTS drv_jdbc");
                for (Check check : checks) {
                    if (options.isEmpty() || check != checks[0]) check.run(c);
                }
                c.createStatement().execute("DROP TABLE drv_jdbc");
            }
        }
    }
}
