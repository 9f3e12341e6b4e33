"""What a playback package is: its rungs, its names and its main playlist (HLS, RFC 8216; fragmented MP4, 3.3).

A package is named by the content it is made from and by the recipe, so the same again has the same name, and another
recipe never overwrites what somebody plays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: Formats (as `AudioFacts.audio_format` names them, up to the slash or whole) that fit into MP4 as they are: RFC 6381
#: codecs strings.
COPIED = {"FLAC": "fLaC", "MPEG": "mp4a.40.34", "MP3": "mp4a.40.34", "OGG/OPUS": "Opus"}
#: Uncompressed masters are kept without loss.
LOSSLESS = {"WAV": "fLaC", "WAVEX": "fLaC", "RF64": "fLaC", "AIFF": "fLaC"}
AAC_LC = "mp4a.40.2"


@dataclass(frozen=True)
class Recipe:
    """How packages are made: AAC bit rates [kbit/s], length of segments [s], whether these are AES-128 encrypted."""

    kbit_s: tuple[int, ...] = (64, 128, 256)
    segment_s: int = 6
    encrypted: bool = False
    version: int = 1

    @property
    def name(self) -> str:
        """First 16 hex digits of the SHA-256 of what the recipe says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Rung:
    """One way to play a recording. `encoder` is ffmpeg's; `kbit_s` is None for what keeps the source's quality."""

    name: str
    encoder: str
    codecs: str
    kbit_s: int | None = None


def rungs(recipe: Recipe, audio_format: str) -> list[Rung]:
    """The ladder, from the smallest bit rate to the source itself.

    A source that fits into no MP4 (Vorbis) has no rung of its own; it stays in the audio bucket.
    """
    ladder = [Rung(f"aac-{kbit_s}", "aac", AAC_LC, kbit_s) for kbit_s in sorted(recipe.kbit_s)]
    container = audio_format.split("/", maxsplit=1)[0]
    if codecs := COPIED.get(audio_format) or COPIED.get(container):
        ladder.append(Rung("source", "copy", codecs))
    elif codecs := LOSSLESS.get(container):
        ladder.append(Rung("source", "flac", codecs))
    return ladder


def prefix(sha256: str, recipe: Recipe) -> str:
    """Where a package lies in its bucket; two hex digits spread packages over prefixes."""
    return f"hls/{sha256[:2]}/{sha256}/{recipe.name}/"


def peak_bits_s(segments: Sequence[tuple[float, int]], target_s: float) -> int:
    """BANDWIDTH: the highest bit rate [bit/s] of contiguous segments that last 0.5 to 1.5 target durations together
    (RFC 8216, 4.1). A recording that is shorter than that counts as a whole, against the target if it lasts no time.

    `segments` are (duration in s, size in bytes), in order.
    """
    rates = []
    for first in range(len(segments)):
        seconds, size = 0.0, 0
        for duration, length in segments[first:]:
            seconds, size = seconds + duration, size + length
            if seconds > 1.5 * target_s:
                break
            if seconds >= 0.5 * target_s and seconds > 0:
                rates.append(size * 8 / seconds)
    if not rates:
        whole = sum(seconds for seconds, _ in segments) or target_s or 1
        rates = [sum(size for _, size in segments) * 8 / whole]
    return round(max(rates))


def main_playlist(ladder: list[Rung], bits_s: dict[str, int], loudness_lufs: float | None) -> str:
    """The playlist that players open first. `bits_s` is the measured peak of each rung in bits a second.

    Loudness is told, not applied: a player turns down, the samples stay those of the master.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if loudness_lufs is not None:
        lines.append(f'#EXT-X-SESSION-DATA:DATA-ID="org.wavehouse.loudness-lufs",VALUE="{loudness_lufs:.1f}"')
    for rung in ladder:
        lines += [f'#EXT-X-STREAM-INF:BANDWIDTH={bits_s[rung.name]},CODECS="{rung.codecs}"', f"{rung.name}/stream.m3u8"]
    return "\n".join(lines) + "\n"


def with_key(playlist: str, uri: str) -> str:
    """A media playlist whose segments are AES-128 encrypted with the key at `uri`.

    The key stands after the map, which is thereby in the clear; the IV is the segment's number (RFC 8216, 4.3.2.4).
    """
    return "".join(
        f'{line}#EXT-X-KEY:METHOD=AES-128,URI="{uri}"\n' if line.startswith("#EXT-X-MAP") else line
        for line in playlist.splitlines(keepends=True)
    )


def iv(number: int) -> bytes:
    """Initialisation vector of segment `number`: 128 bits, big endian (RFC 8216, 5.2)."""
    return number.to_bytes(16)
