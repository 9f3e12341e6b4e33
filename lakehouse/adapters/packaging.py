"""Makes playback packages with ffmpeg and puts them into the object store; memory and disk are those of one track."""

from __future__ import annotations

import re
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lakehouse.adapters.catalog_db import CatalogDb
from lakehouse.adapters.objects import PLAYBACK, Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.playback.packaging import Recipe, Rung, iv, main_playlist, prefix, rungs, with_key
from lakehouse.errors import FatalError

#: Whoever serves playback answers this with the key, to listeners who may have it; it is no object of the store.
KEY_URI = "key"


@dataclass(frozen=True)
class Packaged:
    """One track: where its package is, and whether it was `made` now or was `there`."""

    content_id: int
    outcome: str
    address: str
    loudness_lufs: float | None


def popular(settings: Settings, number: int) -> list[int]:
    """The `number` most streamed tracks of all published months (content_id), the most streamed first."""
    from lakehouse.adapters import trino

    sql = "select track_id from gold.streams_monthly group by 1 order by sum(streams) desc, 1 limit ?"
    return [int(row[0]) for row in trino.query(settings, sql, [number], user="analyst").rows]


def package(settings: Settings, content_ids: Sequence[int], recipe: Recipe) -> list[Packaged]:
    """Packages of these tracks, in order; one that is there is left alone.

    The row that says it is there comes last: whoever is killed before it leaves objects that the next run writes again.

    Raises:
        RejectedInputError: `no_such_track`.
        FatalError: ffmpeg is missing, or can't do what the ingest could decode.
    """
    objects = Objects(settings)
    done = []
    with CatalogDb(settings) as db:
        for content_id in content_ids:
            sha256, audio_format = db.audio_of(content_id)
            address = f"s3://{PLAYBACK}/{prefix(sha256, recipe)}"
            # Two that make it at once would mix the segments of two keys.
            with db.exclusively(f"package {sha256} {recipe.name}"):
                found = db.playback_loudness(sha256, recipe.name)
                if found is None:
                    loudness, key = _make(objects, sha256, audio_format, recipe)
                    db.record_package(sha256, recipe.name, address, loudness, key)
                else:
                    (loudness,) = found
            outcome = "there" if found else "made"
            done.append(Packaged(content_id, outcome, address, loudness))
    return done


def _make(objects: Objects, sha256: str, audio_format: str, recipe: Recipe) -> tuple[float | None, bytes | None]:
    key = secrets.token_bytes(16) if recipe.encrypted else None
    ladder = rungs(recipe, audio_format)
    with tempfile.TemporaryDirectory(prefix="wavehouse-package-") as name:
        folder, source = Path(name) / "package", Path(name) / "source"
        objects.fetch_audio(sha256, source)
        for rung in ladder:
            _encode(source, folder / rung.name, rung, recipe)
        bits_s = {rung.name: _peak_bits_s(folder / rung.name) for rung in ladder}
        loudness = _loudness(source)
        if key:
            for rung in ladder:
                _encrypt(folder / rung.name, key)
        (folder / "main.m3u8").write_text(main_playlist(ladder, bits_s, loudness))
        # Playlists last: whoever finds one finds what it names.
        files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda p: (p.suffix == ".m3u8", p))
        for path in files:
            objects.put_playback(path, prefix(sha256, recipe) + path.relative_to(folder).as_posix())
    return loudness, key


def _ffmpeg(arguments: Sequence[str]) -> str:
    """What ffmpeg says on its standard error."""
    try:
        done = subprocess.run(
            ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-y", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise FatalError("ffmpeg is not installed.", hint="`make setup` installs it.") from error
    if done.returncode:
        raise FatalError(f"ffmpeg failed: {' / '.join(done.stderr.strip().splitlines()[-3:])}")
    return done.stderr


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
    """The highest bit rate of a segment, as RFC 8216 asks of BANDWIDTH."""
    found = re.findall(r"#EXTINF:([0-9.]+),\s*\n(\S+)", (folder / "stream.m3u8").read_text())
    rates: list[float] = [(folder / name).stat().st_size * 8 / float(seconds) for seconds, name in found]
    return round(max(rates))


def _loudness(source: Path) -> float | None:
    """Integrated loudness in LUFS (EBU R128); None when nothing is loud enough to be measured."""
    said = _ffmpeg(["-i", str(source), "-map", "0:a:0", "-af", "ebur128=framelog=verbose", "-f", "null", "-"])
    found = re.search(r"Integrated loudness:\s+I:\s+(-?[0-9.]+) LUFS", said)
    value = float(found[1]) if found else -70.0
    return value if value > -70.0 else None  # noqa: PLR2004 - the absolute gate of BS.1770


def _encrypt(folder: Path, key: bytes) -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    for number, path in enumerate(sorted(folder.glob("*.m4s"))):
        padder, cipher = PKCS7(128).padder(), Cipher(algorithms.AES(key), modes.CBC(iv(number))).encryptor()
        padded = padder.update(path.read_bytes()) + padder.finalize()
        path.write_bytes(cipher.update(padded) + cipher.finalize())
    playlist = folder / "stream.m3u8"
    playlist.write_text(with_key(playlist.read_text(), f"../{KEY_URI}"))
