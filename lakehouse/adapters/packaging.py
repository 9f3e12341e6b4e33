"""Makes playback packages with ffmpeg and puts them into the object store; memory and disk are those of one track."""

from __future__ import annotations

import re
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from lakehouse.adapters.audio_probe import opened
from lakehouse.adapters.catalog_db import CatalogDb
from lakehouse.adapters.objects import PLAYBACK, Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.loudness import SILENCE_LUFS, Meter, by_channel
from lakehouse.domain.playback.packaging import Recipe, Rung, iv, main_playlist, peak_bits_s, prefix, rungs, with_key
from lakehouse.errors import FatalError, RejectedInputError

#: Whoever serves playback answers this with the key, to listeners who may have it; it is no object of the store.
KEY_URI = "key"


#: AES-128, as HLS has it (RFC 8216, 4.3.2.4).
KEY_BYTES = 16
#: An hour of ffmpeg is far more than the longest recording needs; one that hangs must not hold up the others.
FFMPEG_TIMEOUT_S = 3600
#: Reason and message of a package that was made again.
KEY_LOST = ("key_lost", "No key opened it: the secret that wraps keys was renewed, or it had been taken down.")
#: Steps of the loudness meter that are decoded at a time: 2 s.
READ_STEPS = 20
#: Days whose streams make a track popular on the last of them: a night that is published late hides none.
POPULAR_DAYS = 7
#: Streamed tracks that are asked for first in a search for those without a package.
_FIRST_LOOK = 1000


@dataclass(frozen=True)
class Packaged:
    """One track: where its package is, and whether it was `made` now or was `there`; or why it is `refused`.

    `loudness_lufs` is None where nothing is loud enough to be measured, `reason` and `message` where nothing is wrong.
    One that was made again because no key opens it any more is `made` for the reason `key_lost`.
    """

    content_id: int
    outcome: str
    address: str | None = None
    loudness_lufs: float | None = None
    reason: str | None = None
    message: str | None = None


def popular(settings: Settings, number: int, *, until: date | None = None) -> list[int]:
    """The `number` most streamed tracks (content_id), the most streamed first: of all published months or, with
    `until`, of the `POPULAR_DAYS` days (UTC) that end with it.
    """
    from lakehouse.adapters import trino

    sql = "select track_id from gold.streams_monthly group by 1 order by sum(streams) desc, 1 limit ?"
    values: list[object] = [number]
    if until:
        sql = (
            "select track_id from gold.streams_daily where played_on between date(?) and date(?) "
            "group by 1 having sum(streams) > 0 order by sum(streams) desc, 1 limit ?"
        )
        values = [(until - timedelta(days=POPULAR_DAYS - 1)).isoformat(), until.isoformat(), number]
    return [int(row[0]) for row in trino.query(settings, sql, values, user="analyst").rows]


def missing(settings: Settings, number: int, recipe: Recipe, *, at: datetime, until: date | None = None) -> list[int]:
    """As `popular`, but the `number` most streamed of those that have no such package and may be played at `at`."""
    look = max(number, _FIRST_LOOK)
    with CatalogDb(settings) as db:
        while True:
            streamed = popular(settings, look, until=until)
            found = db.without_package(streamed, recipe.name, at, number)
            if len(found) == number or len(streamed) < look:
                return found
            look *= 4


def package(
    settings: Settings,
    content_ids: Sequence[int],
    recipe: Recipe,
    *,
    at: datetime,
    tell: Callable[[Packaged], None] = lambda _: None,
) -> list[Packaged]:
    """Packages of these tracks, in order, for players at the moment `at`; one that is there is left alone, one that is
    `refused` stops no other. `tell` hears of each when it is done.

    The row that says it is there comes last: whoever is killed before it leaves objects that the next run writes again.
    Reasons: `no_such_track`, `track_hidden`, `not_available`, `no_such_object` (its audio) and `not_encodable`.

    Raises:
        RetryableError: the store or the catalogue is away.
        FatalError: ffmpeg is missing, or for encrypted packages the key that wraps theirs.
    """
    objects = Objects(settings)
    done = []
    wrapping = wrapping_key(settings) if recipe.encrypted else b""
    with CatalogDb(settings) as db:
        for content_id in content_ids:
            try:
                one = _package(objects, db, content_id, recipe, at, wrapping)
            except RejectedInputError as error:
                one = Packaged(content_id, "refused", reason=error.reason, message=error.message)
            tell(one)
            done.append(one)
    return done


def _package(
    objects: Objects, db: CatalogDb, content_id: int, recipe: Recipe, at: datetime, wrapping: bytes
) -> Packaged:
    sha256, audio_format = db.audio_of(content_id, at)
    address = f"s3://{PLAYBACK}/{prefix(sha256, recipe)}"
    found = db.package_of(sha256, recipe.name)
    if found and _opens(recipe, wrapping, found[1]):
        return Packaged(content_id, "there", address, found[0])
    why = KEY_LOST if found else (None, None)
    with tempfile.TemporaryDirectory(prefix="wavehouse-package-") as name:
        folder, source = Path(name) / "package", Path(name) / "source"
        objects.fetch_audio(sha256, source)
        loudness, key = _make(source, folder, audio_format, recipe)
        # Two that put it at once would mix the segments of two keys. Encoding takes long and needs no lock.
        with db.exclusively(f"package {sha256} {recipe.name}"):
            found = db.package_of(sha256, recipe.name)
            if found and _opens(recipe, wrapping, found[1]):
                return Packaged(content_id, "there", address, found[0])
            db.audio_of(content_id, at)  # it may have been taken down while it was encoded
            _put(objects, folder, prefix(sha256, recipe))
            db.record_package(sha256, recipe.name, address, loudness, wrapped(wrapping, key) if key else None)
    return Packaged(content_id, "made", address, loudness, *why)


def remove_hidden(objects: Objects, db: CatalogDb) -> list[str]:
    """Remove the packages of tracks that were taken down, each with its row last; returns their addresses.

    Raises:
        RetryableError: the store or the catalogue is away; the next call goes on.
    """
    removed = []
    for sha256, address in db.hidden_packages():
        name = address.removeprefix(f"s3://{PLAYBACK}/")
        with db.exclusively(f"package {sha256} {name.rstrip('/').rpartition('/')[2]}"):
            if (sha256, address) not in db.hidden_packages(sha256):  # shown again, and packaged, meanwhile
                continue
            objects.remove_playback(name)
            db.forget_package(sha256, address)
            removed.append(address)
    return removed


def wrapping_key(settings: Settings) -> bytes:
    """The AES key (128 bits) that wraps the keys of packages: a secret of the installation, which no table holds.

    Raises:
        FatalError: it is missing, or no 32 hex digits.
    """
    try:
        key = bytes.fromhex(settings.playback.key_encryption_key.get_secret_value())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise FatalError(
            "There is no key to encrypt the keys of packages with.",
            hint="`wavehouse up` makes one; elsewhere set WAVEHOUSE_PLAYBACK__KEY_ENCRYPTION_KEY to 32 hex digits.",
        )
    return key


def _opens(recipe: Recipe, wrapping: bytes, kept: bytes | None) -> bool:
    """Whether a package can be played: in clear, or with the key that was kept of it."""
    if not recipe.encrypted:
        return True
    try:
        unwrapped(wrapping, kept or b"")
    except FatalError:
        return False
    return True


def wrapped(wrapping: bytes, key: bytes) -> bytes:
    """`key` as the catalogue keeps it: AES key wrap (RFC 3394)."""
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    return aes_key_wrap(wrapping, key)


def unwrapped(wrapping: bytes, kept: bytes) -> bytes:
    """The key of a package that the catalogue keeps as `kept`.

    Raises:
        FatalError: it was wrapped with another key, or is damaged.
    """
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    try:
        return aes_key_unwrap(wrapping, kept)
    except InvalidUnwrap as error:
        raise FatalError(
            "The key of a package was wrapped with another key than the one in the settings.",
            hint="Bring that one back, or make the package again with `wavehouse package --encrypt`.",
        ) from error


def _make(source: Path, folder: Path, audio_format: str, recipe: Recipe) -> tuple[float | None, bytes | None]:
    """Make the package of `source` in `folder`; returns its loudness [LUFS] and the key of its segments."""
    key = secrets.token_bytes(KEY_BYTES) if recipe.encrypted else None
    ladder = rungs(recipe, audio_format)
    for rung in ladder:
        _encode(source, folder / rung.name, rung, recipe)
    bits_s = {rung.name: _peak_bits_s(folder / rung.name) for rung in ladder}
    loudness = _loudness(source)
    if key:
        for rung in ladder:
            _encrypt(folder / rung.name, key)
    (folder / "main.m3u8").write_text(main_playlist(ladder, bits_s, loudness))
    return loudness, key


def _put(objects: Objects, folder: Path, names: str) -> None:
    # Playlists last: whoever finds one finds what it names.
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda p: (p.suffix == ".m3u8", p))
    for path in files:
        objects.put_playback(path, names + path.relative_to(folder).as_posix())


def _ffmpeg(arguments: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-y", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=FFMPEG_TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise FatalError("ffmpeg is not installed.", hint="`make setup` installs it.") from error
    except subprocess.TimeoutExpired as error:
        raise RejectedInputError(
            f"ffmpeg was not done after {FFMPEG_TIMEOUT_S} s and was stopped.", reason="not_encodable"
        ) from error
    if done.returncode:
        said = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise RejectedInputError(f"ffmpeg failed: {said}", reason="not_encodable")


def _encode(source: Path, folder: Path, rung: Rung, recipe: Recipe) -> None:
    folder.mkdir(parents=True)
    rate = ["-b:a", f"{rung.kbit_s}k", "-ac", "2"] if rung.kbit_s else []
    # `bitexact` leaves out versions and times: the same source makes the same bytes.
    exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", "-strict", "-2"]
    _ffmpeg(
        ["-i", str(source), "-map", "0:a:0", "-c:a", rung.encoder, *rate, *exact, "-f", "hls",
         "-hls_time", str(recipe.segment_s), "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4",
         "-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", str(folder / "%05d.m4s"),
         str(folder / "stream.m3u8")]
    )  # fmt: skip


def _peak_bits_s(folder: Path) -> int:
    playlist = (folder / "stream.m3u8").read_text()
    target = re.search(r"#EXT-X-TARGETDURATION:(\d+)", playlist)
    found = re.findall(r"#EXTINF:([0-9.]+),\s*\n(\S+)", playlist)
    segments = [(float(seconds), (folder / name).stat().st_size) for seconds, name in found]
    return peak_bits_s(segments, int(target[1]) if target else 0)


def _loudness(source: Path) -> float | None:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); None when nothing is loud and long enough to be measured."""
    import soundfile

    try:
        with opened(source) as sound:
            meter = Meter(sound.samplerate, sound.channels)
            while len(block := sound.read(READ_STEPS * meter.step, dtype="float32", always_2d=True)):
                meter.add(by_channel(block))
    except soundfile.LibsndfileError as error:
        raise RejectedInputError(f"It cannot be decoded: {error}", reason="not_encodable") from error
    try:
        value = meter.integrated_lufs()
    except ValueError:  # shorter than one block
        return None
    return value if value > SILENCE_LUFS else None


def _encrypt(folder: Path, key: bytes) -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    for number, path in enumerate(sorted(folder.glob("*.m4s"))):
        padder, cipher = PKCS7(128).padder(), Cipher(algorithms.AES(key), modes.CBC(iv(number))).encryptor()
        padded = padder.update(path.read_bytes()) + padder.finalize()
        path.write_bytes(cipher.update(padded) + cipher.finalize())
    playlist = folder / "stream.m3u8"
    playlist.write_text(with_key(playlist.read_text(), f"../{KEY_URI}"))
