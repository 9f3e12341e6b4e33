"""Writes small audio files: a tagged library, and one file for each way in which a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import mutagen
import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 44_100

#: (artist, release, title, tempo in bpm, tonic in Hz, seconds, file): several artists, two tracks a release.
TRACKS = (
    ("Ada Ostinato", "First Steps", "Opening", 120, 220.00, 35, "Ada Ostinato/First Steps/01 Opening.ogg"),
    ("Ada Ostinato", "First Steps", "Second Wind", 90, 261.63, 40, "Ada Ostinato/First Steps/02 Second Wind.ogg"),
    ("Ada Ostinato", "Later On", "Long Road", 100, 196.00, 60, "Ada Ostinato/Later On/01 Long Road.flac"),
    ("Ada Ostinato", "Later On", "Homeward", 140, 293.66, 35, "Ada Ostinato/Later On/02 Homeward.flac"),
    ("Björk Sveinsdóttir", "Ísafjörður", "Ljósið", 80, 246.94, 45, "Björk Sveinsdóttir/Ísafjörður/01 Ljósið.ogg"),
    ("Björk Sveinsdóttir", "Ísafjörður", "Nótt", 70, 174.61, 50, "Björk Sveinsdóttir/Ísafjörður/02 Nótt.wav"),
    ("東京カルテット", "夜", "雨 [live]", 110, 329.63, 40, "東京カルテット/夜/01 雨 [live].mp3"),
    ("東京カルテット", "夜", "朝", 130, 207.65, 35, "東京カルテット/夜/02 朝.mp3"),
)
#: What must become of the library; `bad/` holds the files that are refused, by reason.
ACCEPTED = len(TRACKS)
DUPLICATES = 2
REJECTED = {
    "corrupt": 1,
    "invalid_isrc": 1,
    "missing_tags": 2,
    "not_audio": 2,
    "too_short": 1,
    "truncated": 4,
    "undecodable": 1,
    "wrong_container": 1,
    "zero_byte": 1,
}
_FORMATS = {
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".flac": ("FLAC", "PCM_16"),
    ".wav": ("WAV", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
}


def clicks(tempo_bpm: float, seconds: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Short bursts of noise at a tempo; always the same."""
    noise = np.random.default_rng(1).normal(0, 0.3, 400) * np.exp(-np.arange(400) / 80)
    samples = np.zeros(int(seconds * rate_hz), np.float32)
    for start in (np.arange(0, seconds - 0.1, 60 / tempo_bpm) * rate_hz).astype(int):
        samples[start : start + 400] += noise
    return samples


def chord(tonic_hz: float, seconds: float, semitones: tuple[int, ...] = (0, 4, 7, 12)) -> NDArray[np.float32]:
    """A sustained chord, major unless told otherwise."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    waves = [np.sin(2 * np.pi * tonic_hz * 2 ** (step / 12) * time) for step in semitones]
    return (0.1 * np.sum(waves, axis=0)).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], **tags: str) -> Path:
    """Write a file in the format of its extension, with tags that every reader of that format finds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container, subtype = _FORMATS[path.suffix]
    rate_hz = 48_000 if subtype == "OPUS" else RATE_HZ  # Opus has no 44.1 kHz
    with soundfile.SoundFile(path, "w", rate_hz, channels=1, format=container, subtype=subtype) as sound:
        # libsndfile labels its UTF-8 tags in MP3 as Latin-1, and writes no ISRC at all: mutagen does those.
        for name in {"title", "artist", "album", "genre", "license"} & set(tags) if path.suffix != ".mp3" else ():
            setattr(sound, name, tags[name])
        sound.write(samples)
    by_mutagen = {name: text for name, text in tags.items() if path.suffix == ".mp3" or name == "isrc"}
    if by_mutagen:
        file = mutagen.File(path, easy=True)
        for name, text in by_mutagen.items():
            file["website" if name == "license" else name] = text
        file.save()
    return path


def damage(source: Path, target: Path, *, keep: float = 1.0, flip_at: float | None = None) -> Path:
    """A copy of which only the first part is kept, or in which one byte is changed."""
    data = bytearray(source.read_bytes())
    if flip_at is not None:
        data[int(len(data) * flip_at)] ^= 0xFF
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data[: int(len(data) * keep)])
    return target


def write_library(folder: Path) -> None:
    """Write `TRACKS`, two of them once more under other names, and the bad files of `REJECTED`."""
    for artist, release, title, tempo, tonic, seconds, name in TRACKS:
        samples = chord(tonic, seconds) + clicks(tempo, seconds)
        write(folder / name, samples, title=title, artist=artist, album=release, genre="Test", license="CC0-1.0")
    damage(folder / TRACKS[0][-1], folder / "copies" / "the same again.ogg")
    damage(folder / TRACKS[5][-1], folder / "copies" / "und nochmals - gleich.wav")
    write_bad_files(folder / "bad")


def write_bad_files(folder: Path) -> None:
    """Write the files of `REJECTED`."""
    folder.mkdir(parents=True, exist_ok=True)
    tags = {"title": "T", "artist": "A"}
    tone = chord(440, 3)
    (folder / "zero.mp3").touch()
    (folder / "text that says it is.mp3").write_text("No sound in here.\n" * 100)
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"jpeg" * 100)
    (folder / "header only.flac").write_bytes(b"fLaC" + b"\x00" * 200)
    write(folder / "no tags.ogg", tone)
    write(folder / "blank artist.flac", tone, title="T", artist="  ")
    write(folder / "wrong isrc.flac", tone, isrc="XX-123", **tags)
    write(folder / "half a second.ogg", chord(440, 0.5), **tags)
    good = folder.parent / "good"
    for suffix in (".ogg", ".flac", ".wav", ".mp3"):
        damage(write(good / f"good{suffix}", tone, **tags), folder / f"truncated{suffix}", keep=0.6)
    damage(good / "good.ogg", folder / "flipped.ogg", flip_at=0.7)
    damage(good / "good.flac", folder / "renamed.mp3")
    for path in good.iterdir():
        path.unlink()
    good.rmdir()
