"""ClickHouse of the local profile: the embedded engine (chDB) behind ClickHouse's own HTTP protocol.

No ClickHouse server package exists where the local profile must run; chDB is the same engine as a library. One process
owns a data directory, so this gateway owns it and speaks HTTP, and every client (clickhouse-connect, JDBC, curl) is the
production one. In the cluster profile a real ClickHouse server takes its place and this package is not used.

    protocol.py    what a request says: credentials, SQL, settings, parameters, data; and how an answer looks
    statements.py  what a statement may do
    engine.py      the owner of the data directory; one handle a request
    server.py      the HTTP server
"""
