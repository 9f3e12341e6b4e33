"""The lock file, the cache and the tools they come with."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from infra.local import engines, lock
from infra.local.engines import Artifact, Engine, EngineError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAVEHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_artifact_is_pinned_by_version_and_checksum() -> None:
    for engine in engines.load_lock().values():
        assert engine.artifacts or engine.go
        for artifact in engine.artifacts:
            group, name, version, *_ = artifact.parts
            assert group and name and re.fullmatch(r"[\w.+-]*\d[\w.+-]*", version), artifact
            assert re.fullmatch(r"[0-9a-f]{64}", artifact.sha256), artifact


def test_no_registry_host_in_the_lock_or_the_pins() -> None:
    for path in [engines.LOCK_FILE, *engines.REQUIREMENTS.glob("*.txt")]:
        assert "://" not in path.read_text(), path


def test_coordinates_become_the_names_that_maven_writes() -> None:
    archive = Artifact("io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all")
    assert archive.file_name == "io.apicurio.apicurio-registry-app-3.3.3-all.tar.gz"
    assert Artifact("org.postgresql:postgresql:42.7.11").file_name == "org.postgresql.postgresql-42.7.11.jar"


def test_the_project_asks_for_exactly_the_artifacts(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    wanted = [a for engine in engines.load_lock().values() for a in engine.artifacts]
    tree = ElementTree.fromstring(engines.pom(wanted, tmp_path))  # noqa: S314 - our own text
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    asked = [
        ":".join(filter(None, (item.findtext(f"m:{tag}", "", space) for tag in ("groupId", "artifactId", "version"))))
        for item in tree.iterfind(".//m:artifactItem", space)
    ]
    assert asked == [":".join(a.parts[:3]) for a in wanted]


def test_a_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.jar"
    file.write_bytes(b"one")
    engines.verify(Artifact("g:a:1", sha256=engines.sha256_of(file)), file)
    with pytest.raises(EngineError, match="g:a:1: SHA-256 is"):
        engines.verify(Artifact("g:a:1", sha256="0" * 64), file)
    with pytest.raises(EngineError):
        engines.verify(Artifact("g:a:1"), file)


def test_an_engine_appears_whole_or_not_at_all(cache: Path) -> None:
    engine = Engine("thing", "1", artifacts=(Artifact("g:a:1", sha256="1"),))

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engines.build(engine, interrupted)
    assert not engine.ready
    assert list((cache / "engines").iterdir()) == []

    engines.build(engine, lambda folder: (folder / "whole").write_text(""))
    assert engine.ready
    assert (engine.path / "whole").is_file()


def test_a_changed_lock_entry_is_fetched_again(cache: Path) -> None:
    before = Engine("thing", "1", artifacts=(Artifact("g:a:1", sha256="1"),))
    after = Engine("thing", "1", artifacts=(Artifact("g:a:1", sha256="2"),))
    engines.build(before, lambda folder: (folder / "old").write_text(""))
    assert not after.ready
    engines.build(after, lambda folder: (folder / "new").write_text(""))
    assert after.ready
    assert sorted(p.name for p in after.path.iterdir()) == [engines.MARKER, "new"]
    assert [p.name for p in (cache / "engines").iterdir()] == ["thing-1"]


def test_a_missing_engine_says_what_to_do() -> None:
    with pytest.raises(EngineError, match="has not been fetched") as missing:
        engines.engine_path("trino")
    assert missing.value.hint == "Run: make setup"
    with pytest.raises(EngineError, match="no engine 'trinity'"):
        engines.engine_path("trinity")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_the_top_folder_of_an_archive_is_stripped(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as bundle:
            bundle.writestr("thing-1/lib/a.jar", "a")
            bundle.writestr("thing-1/b", "b")
    else:
        with tarfile.open(archive, "w:gz") as bundle:
            for name in ("thing-1/lib/a.jar", "thing-1/b"):
                info = tarfile.TarInfo(name)
                info.size = 1
                bundle.addfile(info, io.BytesIO(name[-1].encode()))
    engines.unpack(archive, tmp_path / "out")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert found == ["b", "lib/a.jar"]


def test_an_archive_without_a_top_folder_stays_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("quarkus-run.jar", "a")
        bundle.writestr("lib/b.jar", "b")
    engines.unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "quarkus-run.jar").is_file()
    assert (tmp_path / "out" / "lib" / "b.jar").is_file()


def test_checksums_are_written_beside_their_coordinates_and_comments_stay() -> None:
    text = (
        "engines:\n  a: # why\n    artifacts:\n"
        "      - coordinate: g:a:1\n        sha256: old\n        unpack: .\n      - coordinate: g:b:2\n"
    )
    once = lock.with_checksums(text, {"g:a:1": "new", "g:b:2": "two"})
    assert "  a: # why\n" in once
    assert "      - coordinate: g:a:1\n        sha256: new\n        unpack: .\n" in once
    assert once.endswith("      - coordinate: g:b:2\n        sha256: two\n")
    assert lock.with_checksums(once, {"g:a:1": "new", "g:b:2": "two"}) == once


def fake_jdk(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").write_text("")
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


def test_the_jdk_named_by_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fake_jdk(tmp_path / "seventeen", "17.0.99")
    monkeypatch.setenv("JAVA_HOME_17", str(named))
    assert engines.java_home(17) == named
    # A JAVA_HOME of another version is not taken for it.
    monkeypatch.delenv("JAVA_HOME_17")
    monkeypatch.setenv("JAVA_HOME", str(fake_jdk(tmp_path / "eleven", "11.0.2")))
    assert engines.java_home(17) != tmp_path / "eleven"


def test_a_missing_jdk_is_one_line_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "java_homes", list)
    with pytest.raises(EngineError, match="No JDK 17") as missing:
        engines.java_home(17)
    assert "openjdk-17-jdk-headless" in missing.value.hint
    assert "\n" not in str(missing.value)


def test_a_complete_cache_may_be_read_only(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in engines.load_lock().values():
        engines.build(engine, lambda folder: None)

    def refused(name: str) -> None:
        raise AssertionError("the cache was locked for writing")

    monkeypatch.setattr(engines, "cache_lock", refused)
    assert engines.fetch_maven().seconds == {}
    assert engines.fetch_go().seconds == {}


def test_a_cache_that_cannot_be_written_says_so(cache: Path) -> None:
    cache.write_text("a file, no folder")
    with pytest.raises(EngineError, match="cannot be written") as closed, engines.cache_lock("go"):
        pass
    assert "WAVEHOUSE_CACHE" in closed.value.hint


def test_the_marker_holds_what_the_folder_was_made_from(cache: Path) -> None:
    engine = Engine("thing", "1", go="example.org/thing")
    engines.build(engine, lambda folder: None)
    assert json.loads((engine.path / engines.MARKER).read_text()) == engine.spec
    (engine.path / engines.MARKER).write_text("{")
    assert not engine.ready
