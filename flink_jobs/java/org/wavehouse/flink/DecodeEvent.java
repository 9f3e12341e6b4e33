package org.wavehouse.flink;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.InputTypeStrategies;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.logical.LogicalTypeFamily;
import org.wavehouse.flink.EventReader.Undecodable;

import java.util.Optional;

/**
 * {@code DECODE_EVENT(value, reader_schema, registry)}: one message in the Confluent wire format (0x00, schema id, Avro) as
 * a row of the reader schema's fields followed by {@code reason} and {@code message}.
 *
 * <p>A message that cannot be decoded never fails the job: its fields are NULL and {@code reason} is one of {@code
 * malformed}, {@code unknown_schema} and {@code incompatible_schema}. A registry that cannot be asked does fail the
 * call, so that the job retries, because nothing is known about the message then.
 *
 * <p>{@code reader_schema} (Avro record as JSON) and {@code registry} (base URL of the Confluent API) are literals.
 */
public final class DecodeEvent extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    private transient String schemaText;
    private transient EventReader reader;

    /** The row of {@code value}; Flink calls it by this name. */
    public RowData eval(byte[] value, String readerSchema, String registry) {
        // A literal arrives as the same object each time, so that this comparison costs nothing.
        if (reader == null || readerSchema != schemaText && !readerSchema.equals(schemaText)) {
            reader = new EventReader(readerSchema, new SchemaRegistry(registry));
        }
        schemaText = readerSchema;
        try {
            return reader.read(value);
        } catch (Undecodable e) {
            return reader.rejected(e);
        }
    }

    /** The answer depends on the registry; it also keeps the planner from copying the call into every use of a field. */
    @Override
    public boolean isDeterministic() {
        return false;
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory types) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(InputTypeStrategies.sequence(
                        InputTypeStrategies.explicit(DataTypes.BYTES()),
                        InputTypeStrategies.logical(LogicalTypeFamily.CHARACTER_STRING),
                        InputTypeStrategies.logical(LogicalTypeFamily.CHARACTER_STRING)))
                .outputTypeStrategy(call -> Optional.of(EventReader.rowType(readerSchema(call))))
                .build();
    }

    private static String readerSchema(CallContext call) {
        return call.getArgumentValue(1, String.class)
                .orElseThrow(() -> new ValidationException("The reader schema of DECODE_EVENT must be a literal."));
    }
}
