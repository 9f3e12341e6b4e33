"""Whether an engine answers: each probe does the least real work a client would do, within a few seconds.

A probe returns None when the engine is ready, else why not, in a few words.
"""

from __future__ import annotations

import re

from lakehouse.config.settings import Settings

#: Seconds a probe waits for its answer. Trino plans its first query for longer than the others take to start.
TIMEOUT_S = 5


def http(url: str, *, matches: str = "") -> str | None:
    """A 2xx answer, whose text contains the regular expression `matches` if one is given."""
    import httpx

    try:
        answer = httpx.get(url, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        return f"{url}: {error or type(error).__name__}"
    if not answer.is_success:
        return f"{url}: HTTP {answer.status_code}"
    if matches and not re.search(matches, re.sub(r"\s+", "", answer.text)):
        return f"{url}: {matches} not there yet"
    return None


def postgres(settings: Settings) -> str | None:
    """A session as the administrator."""
    import psycopg

    server = settings.postgres
    try:
        with psycopg.connect(
            host=server.host,
            port=server.port,
            user="postgres",
            password=server.postgres_password.get_secret_value(),
            dbname="postgres",
            connect_timeout=TIMEOUT_S,
        ) as connection:
            connection.execute("select 1")
    except psycopg.Error as error:
        return str(error).strip()
    return None


def trino(settings: Settings) -> str | None:
    """A query of the lake: an HTTP answer is not enough, for seconds after it queries still fail."""
    from lakehouse.adapters.trino import query
    from lakehouse.errors import WavehouseError

    try:
        query(settings, "select count(*) from lake.information_schema.schemata")
    except WavehouseError as error:
        return error.message
    except OSError as error:  # the certificate is not there yet
        return str(error)
    return None


def kafka(settings: Settings) -> str | None:
    """The broker's own metadata."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # The client's own complaints about a broker that is still starting are not news.
    client = AdminClient({"bootstrap.servers": settings.kafka.address, "log_level": 0})
    try:
        return None if client.list_topics(timeout=TIMEOUT_S).brokers else "no broker has registered"
    except KafkaException as error:
        return str(error.args[0].str())


def redis(settings: Settings) -> str | None:
    """PING with the password."""
    from redis import Redis, RedisError

    server = settings.redis
    try:
        with Redis(
            host=server.host, port=server.port, password=server.password.get_secret_value(), socket_timeout=TIMEOUT_S
        ) as client:
            client.ping()
    except RedisError as error:
        return str(error)
    return None
