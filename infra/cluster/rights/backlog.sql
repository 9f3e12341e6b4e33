-- What the service of ingest-backlog.yaml may do in PostgreSQL: read what it counts. As an administrator, once the
-- catalogue is migrated and the lake has its tables: `psql --file backlog.sql`. Then give the role the password of the
-- secret `wavehouse-backlog`: `\password wavehouse_backlog`. A test holds tables and columns to the code.
create role wavehouse_backlog login;
alter role wavehouse_backlog set default_transaction_read_only = on;
grant connect on database catalog, iceberg to wavehouse_backlog;

\connect catalog
grant usage on schema catalog to wavehouse_backlog;
grant select (object_key, etag) on catalog.ingest_ledger to wavehouse_backlog;
grant select (root, source, beside) on catalog.delivery to wavehouse_backlog;

\connect iceberg
grant select on iceberg_tables, iceberg_namespace_properties to wavehouse_backlog;
