"""services.yaml, the templates and what is made of them, without starting anything."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import psutil
import pytest
import yaml
from pydantic import SecretStr

from infra.local import certificates, prepare, secrets, services, stack, supervise, supervisord
from infra.local.engines import EngineError
from infra.local.services import Service
from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from lakehouse.errors import FatalError


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an installation of its own, with passwords; engines and environments are names only."""
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path / "home"))
    secrets.ensure(tmp_path / "home" / "secrets.toml")
    monkeypatch.setattr(services.engines, "engine_path", lambda name: Path("/engines") / name)
    monkeypatch.setattr(services.engines, "java_home", lambda major: Path(f"/jdk{major}"))
    monkeypatch.setattr(services, "pyflink", lambda: Path("/pyflink"))
    monkeypatch.setattr(services, "postgres_bin", lambda data: Path("/postgres/bin"))
    return load_settings("test")


def test_every_service_is_complete(settings: Settings) -> None:
    loaded = services.load_services(settings)
    assert {s.group for s in loaded.values()} == set(services.GROUPS)
    for service in loaded.values():
        assert service.command and service.memory_mb > 0
        assert service.probe["kind"] in ("http", "postgres", "trino", "kafka", "redis", "alive")
        assert not service.prepare or service.prepare in prepare.PREPARE
        assert not service.init or service.init in prepare.INIT
        assert not any("{{" in word for word in service.command)
        for port in service.ports:
            assert services.port_of(settings, port) > 1024


def test_every_port_of_the_settings_belongs_to_one_service(settings: Settings) -> None:
    named = [port for service in services.load_services(settings).values() for port in service.ports]
    assert len(named) == len(set(named))
    numbers = [services.port_of(settings, port) for port in named]
    assert len(numbers) == len(set(numbers))
    flat = {
        f"{a}.{b}" for a, v in settings.model_dump().items() if isinstance(v, dict) for b in v if b.endswith("port")
    }
    assert set(named) == flat


def test_profiles_share_no_port() -> None:
    def ports(profile: str) -> set[int]:
        dump = load_settings(profile).model_dump()
        return {n for v in dump.values() if isinstance(v, dict) for k, n in v.items() if k.endswith("port")}

    taken = [ports(profile) for profile in ("local", "test", "chaos", "bench")]
    assert len(set.union(*taken)) == sum(map(len, taken))
    # From here on Linux gives ports to outgoing connections, and a service that restarts may find its own taken.
    assert max(set.union(*taken)) < 32_768


def test_everything_listens_on_loopback_only(settings: Settings) -> None:
    text = "\n".join(services.render_files(settings).values()) + json.dumps(
        [(s.command, s.env) for s in services.load_services(settings).values()]
    )
    assert "0.0.0.0" not in text  # noqa: S104 - that is the point
    assert "[::]" not in text


def test_templates_know_every_name_and_hold_no_empty_password(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = services.render_files(settings)
    assert len(files) == sum(p.is_file() for p in services.TEMPLATES.rglob("*"))
    json.loads(files[settings.run / "trino" / "rules.json"])
    yaml.safe_load(files[settings.run / "flink" / "config.yaml"])
    assert json.loads(files[settings.run / "airflow" / "passwords.json"]) == {
        "admin": settings.airflow.admin_password.get_secret_value()
    }
    blank = settings.model_copy(update={"redis": settings.redis.model_copy(update={"password": SecretStr("")})})
    with pytest.raises(FatalError, match="password is missing"):
        services.render_files(blank)


def test_a_missing_engine_is_an_error_for_people(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise EngineError(f"The engine '{name}' has not been fetched.", "Run: make setup")

    monkeypatch.setattr(services.engines, "engine_path", missing)
    with pytest.raises(FatalError, match="has not been fetched") as failure:
        services.load_services(settings)
    assert failure.value.hint == "Run: make setup"


def make(name: str, *needs: str, group: str = "lake", enabled: bool = True) -> Service:
    return Service(name=name, group=group, command=("x",), probe={}, needs=needs, enabled=enabled)


def test_a_service_may_not_stand_before_what_it_needs() -> None:
    services.check_order([make("a"), make("b", "a")])
    with pytest.raises(ValueError, match="b must stand after a"):
        services.check_order([make("b", "a"), make("a")])
    with pytest.raises(ValueError, match="must stand after"):
        services.check_order([make("a", "unknown")])


def test_a_group_brings_what_it_needs_and_no_more() -> None:
    known = {
        s.name: s
        for s in (
            make("db"),
            make("store"),
            make("broker", group="stream"),
            make("job", "broker", "db", group="stream"),
            make("off", "store", group="stream", enabled=False),
            make("api", "job", group="serving"),
        )
    }
    assert list(services.select(known, ["stream"])) == ["db", "broker", "job"]
    assert list(services.select(known, ["api"])) == ["db", "broker", "job", "api"]
    assert "off" not in services.select(known)
    assert list(services.select(known)) == ["db", "store", "broker", "job", "api"]
    with pytest.raises(FatalError, match="no group or service 'steam'") as unknown:
        services.select(known, ["steam"])
    assert "stream" in unknown.value.hint


def test_only_what_reads_a_changed_file_is_restarted(settings: Settings) -> None:
    files = services.render_files(settings)
    known = services.load_services(settings)
    before = {n: services.fingerprint(s, files, settings) for n, s in known.items()}
    files[settings.run / "flink" / "config.yaml"] += "# changed\n"
    changed = {n for n, s in known.items() if services.fingerprint(s, files, settings) != before[n]}
    assert changed == {"flink-jobmanager", "flink-taskmanager"}


def test_whether_trino_s_second_compiler_works_is_a_setting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flags(of: Settings) -> list[str]:
        return services.render_files(of)[of.run / "trino" / "jvm.config"].splitlines()

    monkeypatch.setenv("WAVEHOUSE_TRINO__OPTIMIZING_COMPILER", "true")
    long_lived = load_settings("test")
    first = "-XX:TieredStopAtLevel=1"
    assert first in flags(settings)
    assert flags(long_lived) == [flag for flag in flags(settings) if flag != first]


def test_what_services_get_does_not_depend_on_who_starts_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = services.load_services(settings)
    before = supervise.configuration(settings, known, {})
    monkeypatch.setenv("PATH", f"/somewhere/else:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    assert supervise.configuration(settings, services.load_services(settings), {}) == before
    monkeypatch.setenv("WAVEHOUSE_TRINO__PORT", "45678")
    assert 'WAVEHOUSE_TRINO__PORT="45678"' in supervise.configuration(settings, known, {})


def test_supervisor_reads_back_what_was_written(settings: Settings) -> None:
    """Quotes, spaces and per cent signs survive supervisord's own parser."""
    from supervisor.options import ServerOptions

    service = Service(
        name="odd", group="lake", command=("echo", "a b", "100%", "it's"), probe={}, env={"X": "50% of a, b = c"}
    )
    config = settings.run / "supervisord.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    (settings.run / "logs").mkdir()
    config.write_text(supervise.configuration(settings, {"odd": service}, {"odd": "abc"}))
    options = ServerOptions()
    options.realize(args=["-c", str(config)])
    (group,) = options.process_group_configs
    (program,) = group.process_configs
    assert program.command == """echo 'a b' 100% 'it'"'"'s'"""
    assert program.environment["X"] == "50% of a, b = c"
    assert program.environment["WAVEHOUSE_CONFIG"] == "abc"
    assert program.environment[supervise.MARK] == str(settings.home)
    assert program.autorestart and not program.autostart


def test_quotes_in_an_environment_are_refused() -> None:
    service = Service(name="odd", group="lake", command=("x",), probe={}, env={"X": 'a"b'})
    with pytest.raises(ValueError, match="quotes"):
        supervise.configuration(load_settings("test"), {"odd": service}, {})


def test_the_socket_stays_short_however_deep_the_checkout(settings: Settings, tmp_path: Path) -> None:
    deep = settings.model_copy(update={"home": tmp_path / ("deep/" * 30)})
    assert len(str(supervise.socket_path(deep))) <= supervise.SOCKET_LIMIT
    other = settings.model_copy(update={"home": tmp_path / ("deeq/" * 30)})
    assert supervise.socket_path(deep) != supervise.socket_path(other)


def test_only_ends_that_nobody_asked_for_count_as_restarts() -> None:
    log = (
        "2026-11-22 20:00:01,000 INFO spawned: 'kafka' with pid 11\n"
        "2026-11-22 20:00:05,000 INFO success: kafka entered RUNNING state\n"
        "2026-11-22 20:01:00,000 WARN exited: kafka (terminated by SIGKILL; not expected)\n"
        "2026-11-22 20:01:01,000 INFO spawned: 'kafka' with pid 12\n"
        "2026-11-22 20:01:02,000 WARN exited: kafka (exit status 1; not expected)\n"
        "2026-11-22 20:02:00,000 WARN stopped: trino (terminated by SIGTERM)\n"
        "2026-11-22 20:03:00,000 INFO exited: trino (exit status 0; expected)\n"
    )
    assert supervise.count_restarts(log) == {"kafka": 2, "trino": 1}


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    assert secrets.ensure(path)
    first = tomllib.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert {s: set(f) for s, f in first.items()} == {s: set(f) for s, f in secrets.wanted().items()}
    values = [value for section in first.values() for value in section.values()]
    assert len(values) == len(set(values)) and all(len(value) >= 32 for value in values)

    assert not secrets.ensure(path)
    assert tomllib.loads(path.read_text()) == first
    # A field that a newer version wants is added; the others stay.
    path.write_text(path.read_text().replace("shared_secret", "forgotten"))
    assert secrets.ensure(path)
    again = tomllib.loads(path.read_text())
    assert again["postgres"] == first["postgres"]
    assert again["trino"]["shared_secret"] != first["trino"]["shared_secret"]


def test_the_certificate_is_of_our_own_authority(tmp_path: Path) -> None:
    from cryptography import x509

    certificates.make(tmp_path, host="127.0.0.1")
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    server, root = x509.load_pem_x509_certificates((tmp_path / "keystore.pem").read_bytes())
    server.verify_directly_issued_by(authority)
    assert root == authority
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert (tmp_path / "keystore.pem").stat().st_mode & 0o077 == 0
    before = (tmp_path / "keystore.pem").read_bytes()
    certificates.make(tmp_path, host="127.0.0.1")
    assert (tmp_path / "keystore.pem").read_bytes() == before


def test_configuration_files_are_private_and_untouched_when_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.properties"
    services.write_files({path: "password=1\n"})
    assert path.stat().st_mode & 0o777 == 0o600
    stamp = path.stat().st_mtime_ns
    services.write_files({path: "password=1\n"})
    assert path.stat().st_mtime_ns == stamp
    services.write_files({path: "password=2\n"})
    assert path.read_text() == "password=2\n"


def test_trino_passwords_are_salted_and_slow() -> None:
    one, two = prepare.pbkdf2("secret"), prepare.pbkdf2("secret")
    assert one != two
    rounds, salt, digest = one.split(":")
    assert int(rounds) >= 10_000 and len(bytes.fromhex(salt)) == 16 and len(bytes.fromhex(digest)) == 32


def test_the_profile_and_the_folder_asked_for_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEHOUSE_PROFILE", "local")
    monkeypatch.setenv("WAVEHOUSE_HOME", "elsewhere")
    monkeypatch.setenv("WAVEHOUSE_REDIS__PORT", "4711")
    found = load_settings("test")
    assert (found.profile, found.home, found.redis.port) == ("test", CHECKOUT / "elsewhere", 4711)


def test_a_full_disk_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100 * 2**20})())
    with pytest.raises(FatalError, match="is full: 100 MB free") as full:
        stack.check_disk(settings)
    assert full.value.hint


def test_a_second_up_is_refused_and_names_the_first(settings: Settings) -> None:
    refused = pytest.raises(FatalError, match=rf"`wavehouse up` \(process {os.getpid()}\)")
    with stack.only_one(settings, "up"), refused, stack.only_one(settings, "down"):
        pass
    with stack.only_one(settings, "down"):
        pass


def test_strangers_on_our_ports_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        moved = settings.model_copy(update={"redis": settings.redis.model_copy(update={"port": port})})
        service = Service(name="redis", group="serving", command=("x",), probe={}, ports=("redis.port",))
        monkeypatch.setattr(stack, "MOMENT_S", 0.1)
        (line,) = stack.strangers(moved, [service], ours=set)
        assert line.startswith(f"Port {port} (redis) is used by process {os.getpid()} (")
        assert stack.strangers(moved, [service], ours=lambda: {os.getpid()}) == []


def test_a_service_that_starts_again_while_we_look_is_no_stranger(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(name="redis", group="serving", command=("x",), probe={}, ports=("redis.port",))
    us, port = psutil.Process(), settings.redis.port
    looks: list[dict[int, psutil.Process | None]] = [{port: None}, {port: us}]  # who listens is known a moment later
    monkeypatch.setattr(stack, "POLL_S", 0)
    monkeypatch.setattr(stack, "port_users", lambda _: looks.pop(0))
    # Ours are counted after it was seen, or one that was started in between would not be among them.
    assert stack.strangers(settings, [service], ours=lambda: set() if len(looks) == 2 else {us.pid}) == []
    assert looks == []


def test_functions_are_compiled_again_when_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "FUNCTIONS", tmp_path)
    assert prepare.functions_jar() is None
    (tmp_path / "A.java").write_text("class A {}")
    first = prepare.functions_digest()
    assert prepare.functions_digest() == first
    (tmp_path / "A.java").write_text("class A { int x; }")
    assert prepare.functions_digest() != first


def test_started_processes_are_read_from_the_supervisors_log() -> None:
    import time

    log = (
        "2026-11-22 20:00:01,000 INFO spawned: 'kafka' with pid 11\n"
        "2026-11-22 20:00:05,000 INFO success: kafka entered RUNNING state\n"
        "2026-11-22 20:01:01,500 INFO spawned: 'kafka' with pid 12\n"
    )
    first, second = supervise.spawned(log)[11], supervise.spawned(log)[12]
    assert second - first == 60
    assert time.localtime(first)[:6] == (2026, 11, 22, 20, 0, 1)


def test_a_process_that_only_has_an_old_process_id_is_a_stranger(settings: Settings) -> None:
    import subprocess
    import time

    with subprocess.Popen(["sleep", "60"]) as stranger, subprocess.Popen(["sleep", "60"]) as ours:
        try:
            log = settings.run / "logs" / "supervisord.log"
            log.parent.mkdir(parents=True)
            now = time.time()

            def line(pid: int, at: float) -> str:
                return (
                    f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))},000 INFO spawned: 'x' with pid {pid}\n"
                )

            log.write_text(line(stranger.pid, now - 3600) + line(ours.pid, now))
            assert [p.pid for p in supervise.stragglers(settings)] == [ours.pid]
        finally:
            stranger.kill()
            ours.kill()


def test_supervisord_forgets_a_pipe_that_nobody_reads() -> None:
    polled = supervisord.Poller(options=None)
    ends = os.pipe()
    polled.register_readable(ends[1])  # as the number of a pipe that was read before
    os.close(ends[0])
    assert polled.poll(0) == ([], [])
    assert polled._poller.poll(0) == [], "else it answers at once, again and again"
    os.close(ends[1])
