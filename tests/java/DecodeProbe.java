import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.flink.table.data.RowData;
import org.wavehouse.flink.DecodeEvent;
import org.wavehouse.flink.EncodeEvent;

/** Feeds DECODE_EVENT one message a line (hex, or "null") and prints reason, message, user_id and title; see test_event_codec.py. */
public final class DecodeProbe {
    private DecodeProbe() {}

    public static void main(String[] args) throws Exception {
        String schema = args[0];
        String registry = args[1];
        DecodeEvent decode = new DecodeEvent();
        EncodeEvent encode = new EncodeEvent();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            byte[] value = line.equals("null") ? null : HexFormat.of().parseHex(line);
            try {
                RowData row = decode.eval(value, schema, registry);
                if (!row.isNullAt(5)) {
                    System.out.println("rejected\t" + row.getString(5) + "\t" + row.getString(6));
                    continue;
                }
                Object title = row.isNullAt(4) ? null : row.getString(4).toString();
                java.time.Instant at = row.getTimestamp(3, 6).toInstant();
                Object[] fields = {
                    schema, "probe-value", registry, row.getString(0).toString(), row.getLong(1), row.getBoolean(2), at, title,
                };
                System.out.println("read\t" + at + "\t" + HexFormat.of().formatHex(encode.eval(fields)));
            } catch (java.io.UncheckedIOException e) {
                System.out.println("retry\t" + e.getMessage());
            }
        }
    }
}
