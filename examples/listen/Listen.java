// Prints what is told of a query: pgjdbc.

import java.sql.DriverManager;
import org.postgresql.PGConnection;

public class Listen {
    static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null ? otherwise : value;
    }

    public static void main(String[] arguments) throws Exception {
        String query = arguments[0];
        String url = "jdbc:postgresql://" + env("PGHOST", "127.0.0.1") + ":" + env("PGPORT", "5432") + "/" + env("PGDATABASE", "postgres");
        try (var connection = DriverManager.getConnection(url, env("PGUSER", "postgres"), "")) {
            try (var statement = connection.createStatement()) {
                statement.execute("LISTEN \"" + query.replace("\"", "\"\"") + "\" WITH (snapshot = true)");
            }
            while (true) {
                // Waits until something is told.
                for (var notification : connection.unwrap(PGConnection.class).getNotifications(0)) {
                    System.out.println(notification.getParameter());
                }
            }
        }
    }
}
