import com.sun.net.httpserver.HttpServer;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.Map;

/** Answers with the stack trace, as a servlet container does with its default error page. */
public class Hub {
    static void fail(String way) throws Exception {
        switch (way) {
            case "refused" -> throw new IllegalStateException("pool failed", new SQLException(
                "Connection to db01.corp.example:5432 refused (user=svc_hub, password=Tr0ub4dor-9)", "08001"));
            case "sql" -> throw new SQLException(
                "ORA-00904: \"CARD_NUMBER\": invalid identifier: SELECT id, card_number FROM customers", "42000");
            case "file" -> Files.readString(Path.of("/srv/app/secrets/production.pem"));
            case "key" -> throw new NullPointerException("region missing in " + Map.of(
                "api_key", "hk-4f9a1c77d2", "queue", "amqp://worker:s3cr3t-pw@mq01.corp.example:5672/hub"));
            default -> throw new AssertionError(
                "session eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLW9mLWFuYQ of ana@shop.example");
        }
    }

    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        server.createContext("/", exchange -> {
            var text = new StringWriter();
            try {
                fail(exchange.getRequestURI().getPath().substring(1));
            } catch (Throwable error) {
                error.printStackTrace(new PrintWriter(text));
            }
            var body = ("<html><body><h1>HTTP Status 500</h1><pre>" + text + "</pre><hr>Hub/9.0.65</body></html>").getBytes();
            exchange.getResponseHeaders().add("Content-Type", "text/html;charset=utf-8");
            exchange.sendResponseHeaders(500, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
