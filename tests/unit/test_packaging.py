"""Names, ladder and playlists of playback packages."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import soundfile
import sqlalchemy as sa
from pydantic import SecretStr
from typer import Typer
from typer.testing import CliRunner

from lakehouse.adapters import catalog_db, packaging, trino
from lakehouse.adapters.catalog_db import CatalogDb
from lakehouse.adapters.objects import Objects
from lakehouse.cli.package import package as package_command
from lakehouse.config.settings import Playback, Settings
from lakehouse.domain.playback.packaging import Recipe, iv, main_playlist, peak_bits_s, prefix, rungs, with_key
from lakehouse.errors import FatalError, RejectedInputError, RetryableError


def test_another_recipe_is_another_package() -> None:
    names = {prefix("ab" * 32, recipe) for recipe in (Recipe(), Recipe(encrypted=True), Recipe((96,)), Recipe())}
    assert len(names) == 3
    assert all(name.startswith(f"hls/ab/{'ab' * 32}/") for name in names)


@pytest.mark.parametrize(
    ("audio_format", "source"),
    [
        ("FLAC/PCM_24", ("copy", "fLaC")),
        ("MP3/MPEG_LAYER_III", ("copy", "mp4a.40.34")),
        ("OGG/OPUS", ("copy", "Opus")),
        ("WAV/PCM_16", ("flac", "fLaC")),
        ("RF64/PCM_24", ("flac", "fLaC")),
        ("OGG/VORBIS", None),
    ],
)
def test_the_source_is_kept_where_mp4_can_hold_it(audio_format: str, source: tuple[str, str] | None) -> None:
    ladder = rungs(Recipe(), audio_format)
    assert [rung.kbit_s for rung in ladder[:3]] == [64, 128, 256]
    assert [(rung.encoder, rung.codecs) for rung in ladder[3:]] == ([source] if source else [])


def test_the_main_playlist_tells_the_loudness() -> None:
    ladder = rungs(Recipe((64,)), "FLAC/PCM_16")
    text = main_playlist(ladder, {"aac-64": 70_000, "source": 800_000}, -14.23)
    assert text.splitlines()[3:] == [
        '#EXT-X-SESSION-DATA:DATA-ID="org.wavehouse.loudness-lufs",VALUE="-14.2"',
        '#EXT-X-STREAM-INF:BANDWIDTH=70000,CODECS="mp4a.40.2"',
        "aac-64/stream.m3u8",
        '#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="fLaC"',
        "source/stream.m3u8",
    ]
    assert "loudness" not in main_playlist(ladder, {"aac-64": 1, "source": 1}, None)


def test_the_key_stands_between_map_and_segments() -> None:
    plain = '#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:6.0,\n00000.m4s\n'
    assert with_key(plain, "../key").splitlines()[1:3] == [
        '#EXT-X-MAP:URI="init.mp4"',
        '#EXT-X-KEY:METHOD=AES-128,URI="../key"',
    ]
    assert iv(258) == bytes(14) + b"\x01\x02"


@pytest.mark.parametrize(
    ("segments", "peak"),
    [
        ([(6.0, 6000), (6.0, 12_000), (6.0, 3000)], 16_000),
        ([(6.0, 6000), (0.01, 1000)], round(7000 * 8 / 6.01)),  # the rest of a file counts with what comes before it
        ([(6.0, 6000), (0.0, 100)], round(6100 * 8 / 6)),
        ([(4.0, 4000), (4.0, 8000), (4.0, 4000)], 16_000),
        ([(1.0, 1000)], 8000),  # shorter than half a target
        ([(0.0, 600)], 800),
        ([], 0),
    ],
)
def test_bandwidth_is_the_peak_over_about_a_target_duration(segments: list[tuple[float, int]], peak: int) -> None:
    assert peak_bits_s(segments, 6) == peak


def test_a_track_that_is_refused_stops_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def audio_of(_db: object, content_id: int, _at: datetime) -> tuple[str, str]:
        if content_id == 1:
            raise RejectedInputError("It was taken down.", reason="track_hidden")
        return f"{content_id}" * 64, "WAV/PCM_16"

    def package_of(_db: object, sha256: str, _recipe: str) -> tuple[float, None] | None:
        return (-14.0, None) if sha256[0] == "3" else None

    def fetch(_objects: object, _sha256: str, path: Path) -> None:
        path.write_bytes(b"no sound")

    monkeypatch.setattr(CatalogDb, "audio_of", audio_of)
    monkeypatch.setattr(CatalogDb, "package_of", package_of)
    monkeypatch.setattr(Objects, "fetch_audio", fetch)
    done = packaging.package(settings, [1, 2, 3], Recipe(), at=datetime(2026, 3, 6, tzinfo=UTC))
    assert [(one.outcome, one.reason) for one in done] == [
        ("refused", "track_hidden"),
        ("refused", "not_encodable"),
        ("there", None),
    ]


def test_a_package_whose_key_is_lost_is_made_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `wavehouse` made new secrets: the row is there, and no player could ever open what it names."""
    old, new, fresh = bytes(16), bytes(range(16)), b"k" * 16
    rows: dict[str, tuple[float | None, bytes | None]] = {"ab" * 32: (-14.0, packaging.wrapped(old, bytes(16)))}
    put: list[str] = []

    def record(_db: object, sha256: str, _recipe: str, _address: str, loudness: float, key: bytes) -> None:
        rows[sha256] = (loudness, key)

    monkeypatch.setattr(CatalogDb, "audio_of", lambda *_: ("ab" * 32, "WAV/PCM_16"))
    monkeypatch.setattr(CatalogDb, "package_of", lambda _db, sha256, _recipe: rows.get(sha256))
    monkeypatch.setattr(CatalogDb, "exclusively", lambda *_: nullcontext())
    monkeypatch.setattr(CatalogDb, "record_package", record)
    monkeypatch.setattr(Objects, "fetch_audio", lambda *_: None)
    monkeypatch.setattr(packaging, "_make", lambda *_: (-15.0, fresh))
    monkeypatch.setattr(packaging, "_put", lambda _objects, _folder, names: put.append(names))
    renewed = settings.model_copy(update={"playback": Playback(key_encryption_key=SecretStr(new.hex()))})
    outcomes = []
    for _ in range(2):
        [done] = packaging.package(renewed, [1], Recipe(encrypted=True), at=datetime(2026, 3, 6, tzinfo=UTC))
        outcomes.append((done.outcome, done.reason, done.loudness_lufs))
    assert outcomes == [("made", "key_lost", -15.0), ("there", None, -15.0)]
    assert len(put) == 1
    assert packaging.unwrapped(new, rows["ab" * 32][1] or b"") == fresh


def test_an_ffmpeg_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: float) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RejectedInputError, match="was stopped") as caught:
        packaging._ffmpeg([])
    assert caught.value.reason == "not_encodable"


@pytest.mark.parametrize(("seconds", "amplitude", "lufs"), [(2.05, 0.1, -23.0), (2.05, 0.0, None), (0.2, 0.1, None)])
def test_loudness_of_a_file(tmp_path: Path, seconds: float, amplitude: float, lufs: float | None) -> None:
    wave = amplitude * np.sin(2 * np.pi * 997 * np.arange(int(seconds * 44_100)) / 44_100)
    soundfile.write(tmp_path / "sine.wav", wave, 44_100, subtype="PCM_24")
    found = packaging._loudness(tmp_path / "sine.wav")
    assert found == (None if lufs is None else pytest.approx(lufs, abs=0.05))


def test_a_package_is_made_from_a_file(tmp_path: Path) -> None:
    wave = 0.1 * np.sin(2 * np.pi * 997 * np.arange(13 * 44_100) / 44_100)
    soundfile.write(tmp_path / "source", wave, 44_100, format="FLAC")
    loudness, key = packaging._make(tmp_path / "source", tmp_path / "package", "FLAC/PCM_16", Recipe((64,)))
    assert (loudness, key) == (pytest.approx(-23.0, abs=0.05), None)
    assert 'VALUE="-23.0"' in (tmp_path / "package" / "main.m3u8").read_text()
    assert len(list((tmp_path / "package" / "source").glob("*.m4s"))) == 3


@pytest.mark.parametrize(
    ("rate_hz", "channels", "container"),
    [(96_000, 2, "FLAC"), (96_000, 2, "WAV"), (48_000, 8, "FLAC"), (48_000, 8, "WAV"), (192_000, 1, "WAV")],
)
def test_masters_with_many_bits_and_channels_are_packaged_and_play(
    tmp_path: Path, rate_hz: int, channels: int, container: str
) -> None:
    """The source's rung keeps rate, bits and channels; the AAC rungs are stereo at a rate that AAC has."""
    moments = np.arange(7 * rate_hz) / rate_hz
    wave = np.stack([0.1 * np.sin(2 * np.pi * (220 + 110 * n) * moments) for n in range(channels)], axis=1)
    soundfile.write(tmp_path / "source", wave, rate_hz, "PCM_24", format=container)
    loudness, _ = packaging._make(tmp_path / "source", tmp_path / "package", f"{container}/PCM_24", Recipe())
    assert loudness is not None and -30 < loudness < -10
    folders = [path.parent for path in (tmp_path / "package").glob("*/stream.m3u8")]
    assert {folder.name for folder in folders} == {"aac-64", "aac-128", "aac-256", "source"}
    for folder in folders:
        asked = "stream=codec_name,sample_rate,channels,bits_per_raw_sample"
        command = ["ffprobe", "-v", "error", "-show_entries", asked, "-of", "json", str(folder / "stream.m3u8")]
        [found] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
        if folder.name == "source":
            assert (found["codec_name"], int(found["sample_rate"])) == ("flac", rate_hz)
            assert (found["channels"], found["bits_per_raw_sample"]) == (channels, "24")
        else:
            assert (found["codec_name"], found["channels"]) == ("aac", 2)
            assert int(found["sample_rate"]) == min(rate_hz, 96_000)
        decode = ["ffmpeg", "-v", "error", "-i", str(folder / "stream.m3u8"), "-f", "s16le", "-ac", "1", "-ar", "8000"]
        played = subprocess.run([*decode, "-"], capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
        assert len(played) / 16_000 == pytest.approx(7, abs=0.15)


def test_what_is_streamed_most_is_packaged_first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--popular N` asks the lake for N tracks; those that are named come before them, none twice."""
    asked: list[tuple[str, list[Any]]] = []

    def query(_settings: object, sql: str, values: list[Any], *, user: str) -> Any:
        asked.append((sql, values))
        assert user == "analyst"
        return SimpleNamespace(rows=[(7,), (5,), (9,)][: values[0]])

    packaged: list[list[int]] = []

    def package(
        _settings: object, content_ids: list[int], _recipe: Recipe, *, at: datetime, tell: Any
    ) -> list[packaging.Packaged]:
        assert at.tzinfo is not None
        packaged.append(content_ids)
        done = [packaging.Packaged(content_id, "there", None, -14.23456) for content_id in content_ids]
        for one in done:
            tell(one)
        return done

    monkeypatch.setattr(trino, "query", query)
    assert packaging.popular(settings, 2) == [7, 5]
    [(sql, values)] = asked
    assert "gold.streams_monthly" in sql and "order by sum(streams) desc" in sql and values == [2]
    monkeypatch.setattr(packaging, "package", package)
    app = Typer()
    app.command()(package_command)
    done = CliRunner().invoke(app, ["--popular", "3", "--json", "5", "4"])
    assert done.exit_code == 0, done.output
    assert packaged == [[5, 4, 7, 9]]
    assert [(row["content_id"], row["loudness_lufs"]) for row in json.loads(done.stdout)] == [
        *((5, -14.2), (4, -14.2), (7, -14.2), (9, -14.2))
    ]
    assert done.stderr.splitlines()[2] == "3 of 4: track 7 there, -14.2 LUFS"
    monkeypatch.setattr(packaging, "popular", lambda *_, **__: [])
    refused = CliRunner().invoke(app, ["--popular", "3"])
    assert isinstance(refused.exception, RejectedInputError)
    assert refused.exception.reason == "no_tracks"
    skipped = CliRunner().invoke(app, ["--popular", "3", "--skip-when-none", "--json"])
    assert (skipped.exit_code, skipped.stdout) == (99, "[]\n")


@pytest.fixture
def half_packaged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A catalogue on SQLite with 2,000 tracks; even ones have a package, 1 was taken down, 3 is of no deal."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        for statement in (
            "attach ':memory:' as catalog",
            "create table catalog.content (content_id int, sha256 text, hidden_at text)",
            "create table catalog.playback_package (sha256 text, recipe text)",
        ):
            connection.execute(sa.text(statement))
        connection.execute(
            sa.text("insert into catalog.content values (:number, 'h' || :number, iif(:number = 1, 'then', null))"),
            [{"number": number} for number in range(1, 2001)],
        )
        connection.execute(
            sa.text("insert into catalog.playback_package values ('h' || :number, :recipe)"),
            [{"number": number, "recipe": Recipe().name} for number in range(2, 2001, 2)],
        )

    def audio_of(_db: object, content_id: int, at: datetime) -> tuple[str, str]:
        if content_id == 3:
            raise RejectedInputError(f"Nowhere at {at}.", reason="not_available")
        return f"h{content_id}", "WAV/PCM_16"

    monkeypatch.setattr(CatalogDb, "audio_of", audio_of)
    monkeypatch.setattr(catalog_db.sa, "create_engine", lambda *_, **__: engine)
    monkeypatch.setattr(CatalogDb, "__exit__", lambda *_: None)  # it would forget the engine with its tables
    return engine


@pytest.mark.usefixtures("half_packaged")
def test_packages_are_made_of_the_most_streamed_tracks_that_have_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many before them have one, and without those that may not be played; by the week before a date."""
    asked: list[list[Any]] = []

    def query(_settings: object, sql: str, values: list[Any], *, user: str) -> Any:
        assert (user, "gold.streams_daily" in sql) == ("analyst", True)
        asked.append(values)
        return SimpleNamespace(rows=[(n,) for n in range(1, 1501)][: values[-1]])

    monkeypatch.setattr(trino, "query", query)
    monkeypatch.setattr(packaging, "_FIRST_LOOK", 4)
    at, until = datetime(2026, 3, 6, 6, tzinfo=UTC), date(2026, 3, 5)
    assert packaging.missing(settings, 3, Recipe(), at=at, until=until) == [5, 7, 9]
    assert asked == [["2026-02-27", "2026-03-05", 4], ["2026-02-27", "2026-03-05", 16]]
    assert len(packaging.missing(settings, 5000, Recipe(), at=at, until=until)) == 748
    encrypted = packaging.missing(settings, 3, Recipe(encrypted=True), at=at, until=until)
    assert encrypted == [2, 4, 5]  # another recipe, another package


def test_the_key_of_a_package_is_kept_encrypted() -> None:
    wrapping, key = bytes(range(16)), bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    kept = packaging.wrapped(wrapping, key)
    assert kept.hex().upper() == "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"  # RFC 3394, 4.1
    assert packaging.unwrapped(wrapping, kept) == key
    with pytest.raises(FatalError, match="another key"):
        packaging.unwrapped(bytes(16), kept)


@pytest.mark.parametrize("secret", ["", "ab", "no hex digits at all, but 32 long"])
def test_without_a_key_for_keys_nothing_is_encrypted(settings: Settings, secret: str) -> None:
    without = settings.model_copy(update={"playback": Playback(key_encryption_key=SecretStr(secret))})
    with pytest.raises(FatalError, match="no key to encrypt"):
        packaging.package(without, [1], Recipe(encrypted=True), at=datetime(2026, 3, 6, tzinfo=UTC))


@pytest.fixture
def taken_down(settings: Settings) -> Iterator[CatalogDb]:
    """A catalogue on SQLite with three packages of two recordings; a message takes down the release of the first."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        for statement in (
            "attach ':memory:' as catalog",
            "create table catalog.content (content_id int, sha256 text, hidden_at text)",
            "create table catalog.delivered_release (release_key text, state text)",
            "create table catalog.release_track (release_key text, content_id int, place int, own_deals bool)",
            "create table catalog.availability (release_key text, track int)",
            "create table catalog.playback_package (sha256 text, recipe text, address text, wrapped_key blob)",
            "insert into catalog.content values (1, 'aa', null), (2, 'bb', null)",
            "insert into catalog.delivered_release values ('gone', 'taken_down'), ('here', 'visible')",
            "insert into catalog.release_track values ('gone', 1, 1, false), ('here', 2, 1, false)",
            "insert into catalog.availability values ('here', null)",
            "insert into catalog.playback_package values ('aa', 'r1', 's3://playback/hls/aa/aa/r1/', 'k'), "
            "('aa', 'r2', 's3://playback/hls/aa/aa/r2/', 'k'), ('bb', 'r1', 's3://playback/hls/bb/bb/r1/', 'k')",
        ):
            connection.execute(sa.text(statement))
        catalog_db._show_and_hide(connection, {1, 2}, datetime(2026, 3, 6, tzinfo=UTC))
    with CatalogDb(settings) as db:
        db._engine.dispose()
        db._engine = engine
        yield db


def keys_of(db: CatalogDb) -> dict[str, object]:
    query = sa.text("select sha256 || '/' || recipe, wrapped_key from catalog.playback_package")
    with db.begin() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def test_a_takedown_takes_the_keys_with_it_and_the_packages_after(
    taken_down: CatalogDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that goes away in the middle leaves the rest to the next call; what plays on stays."""
    assert keys_of(taken_down) == {"aa/r1": None, "aa/r2": None, "bb/r1": "k"}
    locked: list[str] = []

    def exclusively(_db: object, what: str) -> nullcontext[None]:
        locked.append(what)
        return nullcontext()

    class Store:
        away = True
        removed: ClassVar[list[str]] = []

        def remove_playback(self, prefix: str) -> None:
            if prefix.endswith("r2/") and self.away:
                raise RetryableError("The object store does not answer.")
            self.removed.append(prefix)

    monkeypatch.setattr(CatalogDb, "exclusively", exclusively)
    store = Store()
    with pytest.raises(RetryableError):
        packaging.remove_hidden(cast(Objects, store), taken_down)
    assert keys_of(taken_down) == {"aa/r2": None, "bb/r1": "k"}
    store.away = False
    assert packaging.remove_hidden(cast(Objects, store), taken_down) == ["s3://playback/hls/aa/aa/r2/"]
    assert keys_of(taken_down) == {"bb/r1": "k"}
    assert store.removed == ["hls/aa/aa/r1/", "hls/aa/aa/r2/"]
    assert packaging.remove_hidden(cast(Objects, store), taken_down) == []
    assert locked[0] == "package aa r1"  # as whoever makes it has it


def test_a_track_that_is_taken_down_alone_takes_its_keys_and_packages_with_it(taken_down: CatalogDb) -> None:
    """By a visible release that has no deal about it, unless another one has, of whatever day."""
    tracks = {"cc": 3, "dd": 4, "ee": 5, "ff": 6, "gg": 7}
    with taken_down.begin() as connection:
        for statement in (
            "insert into catalog.delivered_release values ('also', 'visible'), ('bare', 'visible')",
            # cc was taken down alone; dd has a deal of its own; ee was taken down on one of two; ff has none at all by
            # a release whose deals are about another one; gg came as a single file.
            "insert into catalog.release_track values ('here', 3, 2, true), ('here', 4, 3, true), "
            "('here', 5, 4, true), ('also', 5, 1, false), ('bare', 6, 1, false)",
            "insert into catalog.availability values ('here', 3), ('also', null), ('bare', 2)",
        ):
            connection.execute(sa.text(statement))
        for sha256, content_id in tracks.items():
            values = {"sha256": sha256, "content_id": content_id, "address": f"s3://playback/hls/{sha256}/r1/"}
            connection.execute(sa.text("insert into catalog.content values (:content_id, :sha256, null)"), values)
            package = "insert into catalog.playback_package values (:sha256, 'r1', :address, 'k')"
            connection.execute(sa.text(package), values)
        catalog_db._show_and_hide(connection, {2, 3, 4, 5, 6}, datetime(2026, 3, 7, tzinfo=UTC))
        hidden = sa.text("select sha256 from catalog.content where hidden_at is not null")
        assert list(connection.scalars(hidden)) == ["aa"]
    keys = {name.partition("/")[0]: key for name, key in keys_of(taken_down).items()}
    assert keys == {"aa": None, "bb": "k", "cc": None, "dd": "k", "ee": "k", "ff": None, "gg": "k"}
    assert [sha256 for sha256, _ in taken_down.hidden_packages()] == ["aa", "aa", "cc", "ff"]
    assert taken_down.hidden_packages("cc") == [("cc", "s3://playback/hls/cc/r1/")]


def test_what_is_shown_again_before_its_turn_keeps_its_package(
    taken_down: CatalogDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def shown_meanwhile(db: CatalogDb, _what: str) -> Iterator[None]:
        with db.begin() as connection:
            connection.execute(sa.text("update catalog.content set hidden_at = null"))
        yield

    monkeypatch.setattr(CatalogDb, "exclusively", shown_meanwhile)
    assert packaging.remove_hidden(cast(Objects, None), taken_down) == []
    assert len(keys_of(taken_down)) == 3


def test_what_is_taken_down_while_it_is_encoded_is_not_stored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def audio_of(_db: object, content_id: int, _at: datetime) -> tuple[str, str]:
        asked.append(content_id)
        if len(asked) > 1:
            raise RejectedInputError("It was taken down.", reason="track_hidden")
        return "ab" * 32, "WAV/PCM_16"

    monkeypatch.setattr(CatalogDb, "audio_of", audio_of)
    monkeypatch.setattr(CatalogDb, "package_of", lambda *_: None)
    monkeypatch.setattr(CatalogDb, "exclusively", lambda *_: nullcontext())
    monkeypatch.setattr(Objects, "fetch_audio", lambda *_: None)
    monkeypatch.setattr(packaging, "_make", lambda *_: (-15.0, None))
    monkeypatch.setattr(packaging, "_put", lambda *_: pytest.fail("It was stored."))
    [done] = packaging.package(settings, [1], Recipe(), at=datetime(2026, 3, 6, tzinfo=UTC))
    assert (done.outcome, done.reason) == ("refused", "track_hidden")
