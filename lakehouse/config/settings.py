"""Settings: where the engines are and how to sign in to them.

Read once at an entry point (a command, a service, a job) with `load_settings` and passed down as a value; nothing
below an entry point reads the environment. Later sources win:

    profile (lakehouse/config/profiles/<profile>.toml) < <home>/secrets.toml < environment (WAVEHOUSE_TRINO__PORT=...)
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from lakehouse.errors import FatalError

CHECKOUT = Path(__file__).resolve().parents[2]
PROFILES = Path(__file__).with_name("profiles")


class Endpoint(BaseModel):
    """A host and a port that a service listens on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    port: int

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def http(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"


class Postgres(Endpoint):
    """PostgreSQL: one role and database a purpose (least privilege); `postgres` is used for set-up only.

    `catalog_user` and `iceberg_user` take the place of these databases' owners where a service only reads.
    """

    catalog_user: str = "catalog"
    iceberg_user: str = "iceberg"
    postgres_password: SecretStr = SecretStr("")
    catalog_password: SecretStr = SecretStr("")
    iceberg_password: SecretStr = SecretStr("")
    airflow_password: SecretStr = SecretStr("")
    registry_password: SecretStr = SecretStr("")
    royalties_password: SecretStr = SecretStr("")
    royalties_clerk_password: SecretStr = SecretStr("")
    scrobble_password: SecretStr = SecretStr("")
    scrobble_service_password: SecretStr = SecretStr("")

    def url(self, database: str, *, role: str | None = None, driver: str = "postgresql+psycopg") -> str:
        """SQLAlchemy URL of `database` for `role`; without one for its owner, who carries the same name, or whom the
        settings name instead.
        """
        role = role or database
        password: SecretStr = getattr(self, f"{role}_password")
        user: str = getattr(self, f"{role}_user", role)
        return f"{driver}://{user}:{password.get_secret_value()}@{self.address}/{database}"


class S3(Endpoint):
    """The object store. `root_*` is for set-up only; everything else signs in as `access_key`."""

    region: str
    root_user: str = "wavehouse-root"
    root_password: SecretStr = SecretStr("")
    access_key: str = "wavehouse"
    secret_key: SecretStr = SecretStr("")


class Kafka(Endpoint):
    """The broker; `controller_port` is KRaft's own listener."""

    controller_port: int


class Trino(Endpoint):
    """Trino: `port` is HTTPS with a password, `http_port` is for the coordinator's own traffic on loopback.

    With `optimizing_compiler` false the JVM stops at its first compiler: right for a stack that lives for minutes and
    asks small questions, and three times the CPU of a large month (docs/architecture/scale.md).
    """

    optimizing_compiler: bool = False
    http_port: int
    engine_password: SecretStr = SecretStr("")
    analyst_password: SecretStr = SecretStr("")
    auditor_password: SecretStr = SecretStr("")
    shared_secret: SecretStr = SecretStr("")


class Flink(Endpoint):
    """The session cluster's REST endpoint and the job manager's RPC port."""

    rpc_port: int


class ClickHouse(Endpoint):
    """ClickHouse over HTTP; `loader` writes, `reader` reads."""

    loader_password: SecretStr = SecretStr("")
    reader_password: SecretStr = SecretStr("")


class Playback(BaseModel):
    """Playback packages: `key_encryption_key`, 32 hex digits, wraps the keys of encrypted ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_encryption_key: SecretStr = SecretStr("")


class Spark(BaseModel):
    """Where Spark jobs run, and what Spark is told beyond what every job tells it; `conf` wins.

    Without a `master` that is this process, with `cores` threads; Airflow ingests as many batches of files at once.
    `per_commit` is how many recordings the extraction of features does at a time: what a killed run does again, and
    what executors share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cores: PositiveInt = 2
    master: str = ""
    per_commit: PositiveInt = 24
    conf: dict[str, str] = {}


class Redis(Endpoint):
    """The online feature store and cache."""

    password: SecretStr = SecretStr("")


class Airflow(Endpoint):
    """The API server and UI; one generated admin login.

    With `scheduled` false no DAG is started by the clock, only by hand, by a command or by another DAG's asset.
    """

    scheduled: bool = True
    admin_user: str = "admin"
    admin_password: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    fernet_key: SecretStr = SecretStr("")
    jwt_secret: SecretStr = SecretStr("")


class Settings(BaseSettings):
    """All settings of one installation. Immutable; unknown keys are refused."""

    model_config = SettingsConfigDict(
        env_prefix="WAVEHOUSE_", env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    profile: str
    home: Path
    postgres: Postgres
    s3: S3
    kafka: Kafka
    registry: Endpoint
    trino: Trino
    flink: Flink
    clickhouse: ClickHouse
    redis: Redis
    airflow: Airflow
    playback: Playback = Playback()
    spark: Spark = Spark()
    catalog_api: Endpoint
    scrobble_api: Endpoint

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the files (init values)."""
        del dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def data(self) -> Path:
        """What must survive a restart: databases, logs of the broker, buckets, checkpoints."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """Generated configuration, process ids and logs of the running stack."""
        return self.home / "run"


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Deep merge of two settings trees; `over` wins, also with empty values."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _profile(name: str) -> dict[str, Any]:
    path = PROFILES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.toml")))
        raise FatalError(f"There is no profile '{name}'.", hint=f"Set WAVEHOUSE_PROFILE to one of: {known}.")
    values = tomllib.loads(path.read_text())
    base = values.pop("extends", None)
    return _merge(_profile(base), values) if base else values


def load_settings(profile: str | None = None) -> Settings:
    """Settings of `profile` (default: $WAVEHOUSE_PROFILE, else `local`), with secrets and environment merged in.

    A relative `home` is taken from the checkout, so that the working directory never matters.

    Raises:
        FatalError: the profile does not exist, or a file is not valid TOML.
    """
    name = profile or os.environ.get("WAVEHOUSE_PROFILE", "local")
    values = _profile(name)
    home = CHECKOUT / os.environ.get("WAVEHOUSE_HOME", values["home"])
    secrets = home / "secrets.toml"
    try:
        if secrets.is_file():
            values = _merge(values, tomllib.loads(secrets.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise FatalError(
            f"{secrets} is not valid TOML: {error}.", hint="Delete it; `wavehouse up` makes a new one."
        ) from error
    resolved = {"profile": name, "home": home}
    # Once more over the environment, which has the home as it was given and may name another profile.
    return Settings(**values | resolved).model_copy(update=resolved)
