package org.wavehouse.flink;

import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.inference.InputTypeStrategies;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

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

    private transient GenericDatumWriter<GenericRecord> writer;
    private transient Schema schema;
    private transient int id;
    private transient BinaryEncoder encoder;

    /** The message; Flink calls it by this name. */
    public byte[] eval(Object... arguments) throws IOException {
        if (writer == null) {
            schema = new Schema.Parser().parse((String) arguments[SCHEMA]);
            id = new SchemaRegistry((String) arguments[REGISTRY]).register((String) arguments[SUBJECT], schema.toString());
            writer = new GenericDatumWriter<>(schema);
        }
        GenericRecord record = new GenericData.Record(schema);
        for (int i = 0; i < arguments.length - FIELDS; i++) {
            Object value = arguments[FIELDS + i];
            record.put(i, value instanceof Instant ? ChronoUnit.MICROS.between(Instant.EPOCH, (Instant) value) : value);
        }
        ByteArrayOutputStream message = new ByteArrayOutputStream(128);
        DataOutputStream frame = new DataOutputStream(message);
        frame.writeByte(0);
        frame.writeInt(id);
        encoder = EncoderFactory.get().directBinaryEncoder(message, encoder);
        writer.write(record, encoder);
        return message.toByteArray();
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory types) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(InputTypeStrategies.WILDCARD)
                .outputTypeStrategy(TypeStrategies.explicit(DataTypes.BYTES().notNull()))
                .build();
    }
}
