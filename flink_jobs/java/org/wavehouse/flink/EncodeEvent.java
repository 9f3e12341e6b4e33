package org.wavehouse.flink;

import org.apache.avro.Schema;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.inference.InputTypeStrategies;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;

/**
 * {@code ENCODE_EVENT(schema, subject, registry, field, ...)}: the fields, in the order of the Avro record schema, as one
 * message in the Confluent wire format. The schema is registered under {@code subject} at the first call.
 *
 * <p>Flink's own format {@code avro-confluent} cannot write microseconds in UTC (timestamp-micros), which the contracts ask
 * for. A moment is a TIMESTAMP_LTZ; the first three arguments are literals.
 */
public final class EncodeEvent extends ScalarFunction {
    private static final long serialVersionUID = 1L;
    private static final int SCHEMA = 0;
    private static final int SUBJECT = 1;
    private static final int REGISTRY = 2;
    private static final int FIELDS = 3;

    private transient List<Schema.Field> fields;
    private transient byte[] frame;
    private transient ByteArrayOutputStream message;
    private transient BinaryEncoder encoder;

    /** The message; Flink calls it by this name. */
    public byte[] eval(Object... arguments) throws IOException {
        if (fields == null) {
            Schema schema = new Schema.Parser().parse((String) arguments[SCHEMA]);
            int id = new SchemaRegistry((String) arguments[REGISTRY]).register((String) arguments[SUBJECT], schema.toString());
            frame = ByteBuffer.allocate(1 + Integer.BYTES).put((byte) 0).putInt(id).array();
            message = new ByteArrayOutputStream(128);
            encoder = EncoderFactory.get().directBinaryEncoder(message, null);
            fields = schema.getFields();
        }
        message.reset();
        message.write(frame);
        for (int i = 0; i < fields.size(); i++) {
            write(fields.get(i).schema(), arguments[FIELDS + i]);
        }
        return message.toByteArray();
    }

    private void write(Schema field, Object value) throws IOException {
        switch (field.getType()) {
            case UNION:
                int branch = field.getIndexNamed("null");
                branch = value == null ? branch : 1 - branch;
                encoder.writeIndex(branch);
                write(field.getTypes().get(branch), value);
                break;
            case NULL:
                encoder.writeNull();
                break;
            case STRING:
                encoder.writeString((String) value);
                break;
            case BOOLEAN:
                encoder.writeBoolean((Boolean) value);
                break;
            case DOUBLE:
                encoder.writeDouble((Double) value);
                break;
            case LONG:
                encoder.writeLong(value instanceof Instant moment ? ChronoUnit.MICROS.between(Instant.EPOCH, moment) : (Long) value);
                break;
            default:
                throw new IllegalArgumentException("ENCODE_EVENT cannot write a field of " + field.getType());
        }
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory types) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(InputTypeStrategies.WILDCARD)
                .outputTypeStrategy(TypeStrategies.explicit(DataTypes.BYTES().notNull()))
                .build();
    }
}
