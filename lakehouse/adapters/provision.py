"""Sets up empty engines with their administrator's login: PostgreSQL roles and databases, buckets and their one user.

Every function may run any number of times; each brings the engine to the same state.
"""

from __future__ import annotations

from typing import Any

from lakehouse.config.settings import Settings

#: Roles, each owning the database of its name.
DATABASES = ("catalog", "iceberg", "airflow", "registry", "royalties", "scrobble")
#: Roles that may connect to another's database; its migrations say what they may do there.
CLERKS = {"royalties_clerk": "royalties", "scrobble_service": "scrobble"}
BUCKETS = ("landing", "audio", "lake", "audit", "playback")


def postgres_databases(settings: Settings) -> None:
    """A role and a database for each purpose; nobody else may connect to it."""
    import psycopg
    from psycopg import sql

    admin = settings.postgres.postgres_password.get_secret_value()
    with psycopg.connect(
        host=settings.postgres.host,
        port=settings.postgres.port,
        user="postgres",
        password=admin,
        dbname="postgres",
        autocommit=True,
        connect_timeout=10,
    ) as connection:
        roles = {row[0] for row in connection.execute("select rolname from pg_roles")}
        databases = {row[0] for row in connection.execute("select datname from pg_database")}
        for name in (*DATABASES, *CLERKS):
            role = sql.Identifier(name)
            password = sql.Literal(getattr(settings.postgres, f"{name}_password").get_secret_value())
            verb = sql.SQL("alter" if name in roles else "create")
            connection.execute(sql.SQL("{} role {} login password {}").format(verb, role, password))
            if name in CLERKS:
                database = sql.Identifier(CLERKS[name])
                connection.execute(sql.SQL("grant connect on database {} to {}").format(database, role))
                continue
            if name not in databases:
                connection.execute(sql.SQL("create database {} owner {}").format(role, role))
            connection.execute(sql.SQL("revoke connect, temporary on database {} from public").format(role))
    iceberg_catalog(settings)


def iceberg_catalog(settings: Settings) -> None:
    """The two tables of the Iceberg JDBC catalogue (schema V1). Trino does not make them; PyIceberg does."""
    import psycopg

    from lakehouse.adapters.lake import catalog

    with psycopg.connect(settings.postgres.url("iceberg", driver="postgresql")) as connection:
        row = connection.execute("select to_regclass('iceberg_tables') is null").fetchone()
    if row == (True,):
        catalog(settings)


def bucket_policy() -> dict[str, Any]:
    """What the service user may do: everything inside our buckets, nothing else."""
    resources = [f"arn:aws:s3:::{bucket}{suffix}" for bucket in BUCKETS for suffix in ("", "/*")]
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": resources}]}


def minio_buckets(settings: Settings) -> None:
    """The buckets, the policy and the service user."""
    from minio import Minio, MinioAdmin
    from minio.credentials import StaticProvider

    s3 = settings.s3
    root = s3.root_password.get_secret_value()
    client = Minio(s3.address, s3.root_user, root, secure=False, region=s3.region)
    for bucket in BUCKETS:
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)
    admin = MinioAdmin(
        endpoint=s3.address, credentials=StaticProvider(s3.root_user, root), region=s3.region, secure=False
    )
    admin.policy_add("wavehouse", policy=bucket_policy())
    admin.user_add(s3.access_key, s3.secret_key.get_secret_value())
    admin.policy_set("wavehouse", user=s3.access_key)
