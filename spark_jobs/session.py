"""The Spark session of every job: local mode unless settings say where, the lake's catalogue, nothing left to the
machine's defaults.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from infra.local.engines import engine_path, java_home
from lakehouse.adapters.lake import CATALOG, catalog_properties
from lakehouse.config.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: One thread a Python worker: the work is parallel by rows, and numeric libraries would each take every core.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def session(settings: Settings, name: str, *, memory: str = "1g") -> SparkSession:
    """A session called `name` with the Iceberg catalogue `lake` as its default; times are UTC.

    Raises:
        infra.local.engines.EngineError: the jars or JDK 17 are not there; `make setup` brings them.
    """
    from pyspark.sql import SparkSession

    # Read by the launcher and inherited by the Python workers; both start after this.
    os.environ |= {"JAVA_HOME": str(java_home(17)), "PYSPARK_PYTHON": sys.executable, **ONE_THREAD}
    builder = SparkSession.builder.master(master(settings)).appName(name)
    for key, value in options(settings, memory=memory).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def master(settings: Settings) -> str:
    """Where Spark runs: where the settings say, else in local mode on their cores."""
    return settings.spark.master or f"local[{settings.spark.cores}]"


def options(settings: Settings, *, memory: str) -> dict[str, str]:
    """What Spark is told: what every job needs, and over it `settings.spark.conf`; raises as `session`."""
    jars = ",".join(str(path) for path in sorted(engine_path("spark-jars").glob("*.jar")))
    catalog = f"spark.sql.catalog.{CATALOG}"
    return {
        "spark.jars": jars,
        "spark.driver.memory": memory,
        # The JVM lives for minutes and leaves the numbers to Python: see infra/local/services.yaml.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        # A worker that crashes in native code leaves the Python line it was at in the log.
        "spark.python.worker.faulthandler.enabled": "true",
        "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.spark.cores),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.defaultCatalog": CATALOG,
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        # Cached tables give stale counts when other engines write to them.
        f"{catalog}.cache-enabled": "false",
        **{f"{catalog}.{key}": value for key, value in catalog_properties(settings).items()},
        **settings.spark.conf,
    }
