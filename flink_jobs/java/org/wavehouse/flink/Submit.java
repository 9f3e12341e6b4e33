package org.wavehouse.flink;

import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/** Runs the SQL statements given as arguments, in order; the last one is the job. Started over the cluster's REST API. */
public final class Submit {
    private Submit() {}

    /** One statement an argument. */
    public static void main(String[] statements) {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        for (String statement : statements) {
            tables.executeSql(statement);
        }
    }
}
