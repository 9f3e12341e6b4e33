"""Files that suppliers really send: protected, misnamed, damaged, very large, with many channels, silent or clipped."""

from __future__ import annotations

import os
import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lakehouse.adapters.audio_probe import probe
from lakehouse.config.settings import CHECKOUT
from lakehouse.domain.audio.protection import protection
from lakehouse.domain.audio.tagged import judge
from lakehouse.errors import RejectedInputError
from tests import audio_files
from tests.memory import measured

TAGS = {"title": "T", "artist": "A"}
RECEIVED_ON = date(2026, 3, 1)


def box(kind: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return (8 + len(inside)).to_bytes(4) + kind + inside


def mp4(entry: bytes, *before: bytes, inside: bytes = b"") -> bytes:
    """An MP4 file with one sound track whose samples are of kind `entry`."""
    table = box(b"stsd", bytes(4), (1).to_bytes(4), box(entry, bytes(28), inside))
    track = box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"minf", box(b"stbl", table))))
    return box(b"ftyp", b"M4A \0\0\0\0") + box(b"moov", box(b"mvhd", bytes(100)), *before, track) + box(b"mdat", b"x")


def asf(*guids: str) -> bytes:
    objects = b"".join(bytes.fromhex(guid) + (24).to_bytes(8, "little") for guid in guids)
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + (30 + len(objects)).to_bytes(8, "little")
    return head + len(guids).to_bytes(4, "little") + b"\1\2" + objects


def id3(version: int, name: bytes, flags: int, size: int = 40) -> bytes:
    frame = name + size.to_bytes(4) + bytes([0, flags]) + bytes(size)
    return b"ID3" + bytes([version, 0, 0]) + bytes([0, 0, 0, len(frame)]) + frame + b"\xff\xfb\x90\x64" + bytes(400)


PROTECTED = {
    "widevine.m4a": mp4(b"enca", box(b"pssh", bytes(20)), inside=box(b"sinf", b"")),
    "only the entry.mp4": mp4(b"encv"),
    "fairplay.m4p": mp4(b"drms"),
    "sinf.m4a": mp4(b"mp4a", inside=box(b"sinf", b"")),
    "windows media.wma": asf("a1dcab8c47a9cf118ee400c00c205365", "fbb3112223bdd211b4b700a0c955fc6e"),
    "playready.wma": asf("3385054381 69e6499b74ad12cb86d58c"),
    "encrypted audio.mp3": id3(3, b"AENC", 0),
    "encrypted title 2.3.mp3": id3(3, b"TIT2", 0x40),
    "encrypted title 2.4.mp3": id3(4, b"TIT2", 0x04),
}
PLAIN = {
    "plain.m4a": mp4(b"mp4a"),
    "plain.wma": asf("a1dcab8c47a9cf118ee400c00c205365"),
    "plain.mp3": id3(3, b"TIT2", 0),
}


def reason_of(path: Path) -> str:
    with pytest.raises(RejectedInputError) as caught:
        judge(probe(path, path.name), RECEIVED_ON)
    assert caught.value.hint
    return caught.value.reason


@pytest.mark.parametrize("name", PROTECTED)
def test_protected_audio_has_its_own_reason(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PROTECTED[name])
    assert reason_of(path) == "protected"


@pytest.mark.parametrize("name", PLAIN)
def test_plain_audio_of_those_formats_is_not_protected(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PLAIN[name])
    assert probe(path, name).protection == ""
    assert reason_of(path) != "protected"


@pytest.mark.parametrize("data", [*PROTECTED.values(), *PLAIN.values()])
def test_a_cut_or_hostile_file_does_not_trip_the_search_for_protection(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "cut"
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with path.open("rb") as stream:
            for container in ("mp4", "asf", "mp3"):
                protection(stream, container, end)
    path.write_bytes(box(b"ftyp") + (box(b"moov") * 50_000))
    with path.open("rb") as stream:
        assert protection(stream, "mp4", path.stat().st_size) == ""


@pytest.mark.parametrize("rate_hz, channels", [(96_000, 2), (48_000, 8), (192_000, 1)])
def test_masters_with_many_bits_and_channels_are_accepted(tmp_path: Path, rate_hz: int, channels: int) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (2 * rate_hz, channels))
    for suffix in ("flac", "wav"):
        path = tmp_path / f"master.{suffix}"
        with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_24") as sound:
            sound.title, sound.artist = "T", "A"
            sound.write(samples)
        facts = probe(path, path.name)
        assert judge(facts, RECEIVED_ON).item.title == "T"
        assert (facts.sample_rate_hz, facts.channels, facts.duration_ms) == (rate_hz, channels, 2000)


def test_silence_and_clipping_are_seen_and_not_refused(tmp_path: Path) -> None:
    silent = probe(audio_files.write(tmp_path / "s.flac", np.zeros(3 * 44_100, np.float32), **TAGS), "s.flac")
    loud = probe(audio_files.write(tmp_path / "c.flac", 9 * audio_files.chord(440, 3), **TAGS), "c.flac")
    assert judge(silent, RECEIVED_ON)
    assert judge(loud, RECEIVED_ON)
    assert silent.silent_ratio == 1.0
    assert loud.clipped_ratio > 0.3
    assert loud.silent_ratio < 0.1


PEAK = """
import sys
from pathlib import Path
from lakehouse.adapters.audio_probe import probe
facts = probe(Path(sys.argv[1]), "long.wav")
print(facts.duration_ms)
"""


def peak_of(path: Path, seconds: int) -> tuple[int, int]:
    """Decoded milliseconds, and the most memory [KiB] that a process needed which probed so many seconds of sound.

    The file is an RF64 (EBU Tech 3306), which may be larger than 4 GiB, and its samples are a hole.
    """
    data_bytes = seconds * 44_100 * 4
    sizes = (72 + data_bytes).to_bytes(8, "little") + data_bytes.to_bytes(8, "little") + bytes(12)
    fields = ((1, 2), (2, 2), (44_100, 4), (44_100 * 4, 4), (4, 2), (16, 2))  # PCM, stereo, rate, bytes a second, ...
    layout = b"".join(value.to_bytes(width, "little") for value, width in fields)
    head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + (28).to_bytes(4, "little") + sizes
    head += b"fmt " + (16).to_bytes(4, "little") + layout + b"data" + b"\xff" * 4
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + data_bytes)
    [milliseconds], peak = measured(PEAK, path)
    return milliseconds, peak


@pytest.mark.parametrize(
    "seconds",
    [
        1800,  # 318 MB
        pytest.param(
            36_000,  # ten hours, 6.4 GB
            marks=pytest.mark.skipif(
                os.environ.get("WAVEHOUSE_CHAOS_SEEDS", "0") == "0", reason="part of the long run: SEEDS=1"
            ),
        ),
    ],
)
def test_the_length_of_a_file_needs_no_memory(tmp_path: Path, seconds: int) -> None:
    """Beside six seconds, long files take 32 MB more at most."""
    short, little = peak_of(tmp_path / "short.wav", 6)
    long, much = peak_of(tmp_path / "long.wav", seconds)
    assert (short, long) == (6_000, seconds * 1000)
    assert much - little < 32 * 1024


def test_the_long_run_has_every_test_that_waits_for_it() -> None:
    """`make chaos SEEDS=1` runs the files that the variable is asked for in; without it the long one stays out."""
    here = Path(__file__).relative_to(CHECKOUT).as_posix()
    asking = [p for p in (CHECKOUT / "tests").rglob("test_*.py") if "WAVEHOUSE_CHAOS_SEEDS" in p.read_text()]

    def started(*arguments: str) -> str:
        command = ["make", "--dry-run", "--no-print-directory", "chaos", *arguments]
        return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout

    assert here not in started()
    long = started("SEEDS=1")
    assert long.startswith("WAVEHOUSE_CHAOS_SEEDS=1 ")
    names = [path.relative_to(CHECKOUT).as_posix() for path in asking]
    assert [name for name in names if not name.startswith("tests/chaos/") and name not in long] == []
    assert f"{here}::{test_the_length_of_a_file_needs_no_memory.__name__}" in long
