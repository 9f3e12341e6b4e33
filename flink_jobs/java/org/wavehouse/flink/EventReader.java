package org.wavehouse.flink;

import org.apache.avro.AvroRuntimeException;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaCompatibility.SchemaCompatibilityType;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.Decoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.ResolvingDecoder;
import org.apache.avro.util.Utf8;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.DataType;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Reads messages in the Confluent wire format into rows of one Avro reader schema. Not thread-safe.
 *
 * <p>Fields go from Avro's decoder straight into the row. A message of the reader's own schema, which nearly all are, needs no
 * schema resolution; the others are read by the same code through Avro's resolving decoder.
 */
final class EventReader {
    /** Why a message cannot be decoded: a machine-readable reason and a text for people. */
    static final class Undecodable extends Exception {
        private static final long serialVersionUID = 1L;
        final String reason;

        Undecodable(String reason, String message) {
            // One line, and no stack trace: a flood of bad messages must stay cheap.
            super(message.replaceAll("\\s*\\R\\s*", " "), null, false, false);
            this.reason = reason;
        }
    }

    private interface FieldReader {
        Object read(Decoder in) throws IOException, Undecodable;
    }

    private static final int FRAME = 5; // the zero byte and the schema id
    private static final long MICROS_PER_SECOND = 1_000_000L;
    /** Years 0001 to 9999, the range every engine of the platform can store. */
    private static final long MIN_MICROS = Instant.parse("0001-01-01T00:00:00Z").getEpochSecond() * MICROS_PER_SECOND;
    private static final long MAX_MICROS = Instant.parse("+10000-01-01T00:00:00Z").getEpochSecond() * MICROS_PER_SECOND;

    static {
        // A broken length must not allocate gigabytes; no message is longer than the broker's 1 MiB (Avro's own limit).
        for (String kind : List.of("bytes", "string")) {
            System.setProperty("org.apache.avro.limits." + kind + ".maxLength", String.valueOf(1 << 20));
        }
    }

    private final Schema schema;
    private final SchemaRegistry registry;
    private final FieldReader[] fields;
    /** By schema id; empty for the reader's own schema. */
    private final Map<Integer, Optional<ResolvingDecoder>> known = new HashMap<>();
    private BinaryDecoder decoder;
    private Utf8 buffer = new Utf8();

    EventReader(String readerSchema, SchemaRegistry registry) {
        this.schema = new Schema.Parser().parse(readerSchema);
        this.registry = registry;
        this.fields = schema.getFields().stream().map(f -> nullable(f.name(), f.schema())).toArray(FieldReader[]::new);
    }

    /** Flink type of the rows: the fields, all nullable, then {@code reason} and {@code message}. */
    static DataType rowType(String readerSchema) {
        List<DataTypes.Field> fields = new ArrayList<>();
        for (Schema.Field f : new Schema.Parser().parse(readerSchema).getFields()) {
            fields.add(DataTypes.FIELD(f.name(), type(f.name(), valueSchema(f.schema()))));
        }
        fields.add(DataTypes.FIELD("reason", DataTypes.STRING()));
        fields.add(DataTypes.FIELD("message", DataTypes.STRING()));
        return DataTypes.ROW(fields).notNull().bridgedTo(RowData.class);
    }

    /** The row of {@code value}. */
    RowData read(byte[] value) throws Undecodable {
        if (value == null || value.length < FRAME || value[0] != 0) {
            throw new Undecodable("malformed", "Not in the Confluent wire format (zero byte, schema id, Avro).");
        }
        Optional<ResolvingDecoder> resolving = resolvingDecoder(ByteBuffer.wrap(value, 1, Integer.BYTES).getInt());
        GenericRowData row = new GenericRowData(fields.length + 2);
        try {
            decoder = DecoderFactory.get().binaryDecoder(value, FRAME, value.length - FRAME, decoder);
            if (resolving.isPresent()) {
                ResolvingDecoder in = resolving.get();
                in.configure(decoder);
                for (Schema.Field field : in.readFieldOrder()) {
                    row.setField(field.pos(), fields[field.pos()].read(in));
                }
                in.drain();
            } else {
                for (int i = 0; i < fields.length; i++) {
                    row.setField(i, fields[i].read(decoder));
                }
            }
            if (!decoder.isEnd()) {
                throw new Undecodable("malformed", "Bytes are left over after the Avro record.");
            }
        } catch (IOException | RuntimeException e) { // Avro signals broken input by both, down to index errors
            throw new Undecodable("malformed", "Not an Avro record of its schema: " + e + ".");
        }
        return row;
    }

    /** The row of a message that {@link #read} refused. */
    RowData rejected(Undecodable error) {
        GenericRowData row = new GenericRowData(fields.length + 2);
        row.setField(fields.length, StringData.fromString(error.reason));
        row.setField(fields.length + 1, StringData.fromString(error.getMessage()));
        return row;
    }

    private Optional<ResolvingDecoder> resolvingDecoder(int id) throws Undecodable {
        Optional<ResolvingDecoder> found = known.get(id);
        if (found != null) {
            return found;
        }
        String text = registry.schema(id)
                .orElseThrow(() -> new Undecodable("unknown_schema", "The registry has no schema " + id + "."));
        try {
            Schema writer = new Schema.Parser().parse(text);
            var fit = SchemaCompatibility.checkReaderWriterCompatibility(schema, writer);
            if (fit.getType() != SchemaCompatibilityType.COMPATIBLE) {
                String why = String.join("; ", fit.getResult().getIncompatibilities().stream().map(i -> i.getMessage()).toList());
                throw new Undecodable("incompatible_schema", "Schema " + id + " cannot be read as " + schema.getFullName() + ": " + why);
            }
            found = writer.equals(schema)
                    ? Optional.empty()
                    : Optional.of(DecoderFactory.get().resolvingDecoder(Schema.applyAliases(writer, schema), schema, null));
        } catch (IOException | AvroRuntimeException e) {
            throw new Undecodable("incompatible_schema", "Schema " + id + " is not an Avro schema: " + e.getMessage());
        }
        known.put(id, found);
        return found;
    }

    /** The schema without its null branch. */
    private static Schema valueSchema(Schema field) {
        if (field.getType() != Schema.Type.UNION) {
            return field;
        }
        List<Schema> values = field.getTypes().stream().filter(s -> s.getType() != Schema.Type.NULL).toList();
        return values.size() == 1 ? values.get(0) : field;
    }

    private static DataType type(String name, Schema field) {
        switch (field.getType()) {
            case STRING:
            case ENUM:
                return DataTypes.STRING();
            case BOOLEAN:
                return DataTypes.BOOLEAN();
            case DOUBLE:
                return DataTypes.DOUBLE();
            case BYTES:
                return DataTypes.BYTES();
            case INT:
                return field.getLogicalType() instanceof LogicalTypes.Date ? DataTypes.DATE() : DataTypes.INT();
            case LONG:
                return field.getLogicalType() instanceof LogicalTypes.TimestampMicros
                        ? DataTypes.TIMESTAMP_LTZ(6)
                        : DataTypes.BIGINT();
            default:
                throw new IllegalArgumentException("DECODE_EVENT has no type for the field " + name + " of " + field.getType());
        }
    }

    private FieldReader nullable(String name, Schema field) {
        FieldReader value = reader(name, valueSchema(field));
        if (field.getType() != Schema.Type.UNION) {
            return value;
        }
        int nothing = field.getIndexNamed("null");
        return in -> {
            int branch = in.readIndex();
            if (branch == 1 - nothing) {
                return value.read(in);
            }
            if (branch != nothing) {
                throw new AvroRuntimeException(name + " has no branch " + branch);
            }
            in.readNull();
            return null;
        };
    }

    private FieldReader reader(String name, Schema field) {
        switch (field.getType()) {
            case STRING:
                return in -> text(name, in);
            case ENUM:
                StringData[] symbols = field.getEnumSymbols().stream().map(StringData::fromString).toArray(StringData[]::new);
                return in -> symbols[in.readEnum()];
            case BOOLEAN:
                return Decoder::readBoolean;
            case DOUBLE:
                return Decoder::readDouble;
            case BYTES:
                return in -> {
                    ByteBuffer bytes = in.readBytes(null);
                    return Arrays.copyOfRange(bytes.array(), bytes.position(), bytes.limit());
                };
            case INT:
                return Decoder::readInt;
            case LONG:
                return field.getLogicalType() instanceof LogicalTypes.TimestampMicros
                        ? in -> timestamp(name, in.readLong())
                        : Decoder::readLong;
            default:
                throw new IllegalArgumentException("DECODE_EVENT has no type for the field " + name + " of " + field.getType());
        }
    }

    private static TimestampData timestamp(String name, long micros) throws Undecodable {
        if (micros < MIN_MICROS || micros >= MAX_MICROS) {
            throw new Undecodable("malformed", name + " is not in the years 0001 to 9999: " + micros + " us.");
        }
        return TimestampData.fromEpochMillis(Math.floorDiv(micros, 1000L), (int) Math.floorMod(micros, 1000L) * 1000);
    }

    private StringData text(String name, Decoder in) throws IOException, Undecodable {
        buffer = in.readString(buffer);
        byte[] bytes = Arrays.copyOf(buffer.getBytes(), buffer.getByteLength());
        for (byte b : bytes) {
            if (b < 0) { // the engines that read the lake refuse broken UTF-8, so it must not get there
                try {
                    StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
                    break;
                } catch (CharacterCodingException e) {
                    throw new Undecodable("malformed", name + " is not valid UTF-8.");
                }
            }
        }
        return StringData.fromBytes(bytes);
    }
}
