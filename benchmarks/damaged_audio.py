"""Labelled damage to real audio: excerpts of recordings in four formats are spoilt in known ways, written to disk, probed
and judged as a delivery's files are, and a table says what became of each kind.

A changed byte inside of MP3 or WAV, which carry no checksum of their sound, can't be seen without a declared hash; it is
shown apart, like the errors of `benchmarks.metadata` that leave a valid value. Clean excerpts are judged as well: those
that the rules for sound refuse are told, because a quiet or loud passage of real music may break one.
"""
# ruff: noqa: E501, PLR2004 - a table of kinds with shares and sizes

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import soundfile
from numpy.typing import NDArray

from lakehouse.adapters.audio_probe import probe
from lakehouse.domain.audio.tagged import judge
from lakehouse.domain.catalog.quality.records import Metadata, assess
from lakehouse.errors import FatalError, RejectedInputError

GOALS = {"right_percent": 99.9, "false_refusals_percent": 0.1}
SECONDS = 6
RECEIVED_ON = date(2026, 3, 1)
#: Different excerpts; each serves in every format and for many ways of spoiling.
MAX_EXCERPTS = 250
FORMATS = {
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "wav": ("WAV", "PCM_16"),
}
READ = frozenset({".flac", ".ogg", ".mp3", ".wav", ".opus", ".aiff"})

Samples = NDArray[np.float32]


@dataclass
class Case:
    """One file to judge: its bytes, its name, and what its message declares of it."""

    data: bytes
    name: str
    sha256: str | None = None
    duration: str | None = None


@dataclass(frozen=True)
class Kind:
    """A way of spoiling. `sound` changes the samples before encoding, `file` the encoded file; `tags` are written."""

    name: str
    code: str
    formats: tuple[str, ...] = tuple(FORMATS)
    sound: Callable[[random.Random, Samples], Samples] | None = None
    file: Callable[[random.Random, Case], Case] | None = None
    tags: dict[str, str] | None = None
    out_of_reach: bool = False


def _cut(rng: random.Random, case: Case) -> Case:
    return replace(case, data=case.data[: int(len(case.data) * rng.uniform(0.3, 0.95))])


def _flip(rng: random.Random, case: Case) -> Case:
    """One byte, behind what headers and tags take at the start."""
    data = bytearray(case.data)
    data[rng.randrange(len(data) // 5, len(data) - 200)] ^= 1 << rng.randrange(8)
    return replace(case, data=bytes(data))


def _declared_flip(rng: random.Random, case: Case) -> Case:
    return replace(_flip(rng, case), sha256=hashlib.sha256(case.data).hexdigest())


def _renamed(rng: random.Random, case: Case) -> Case:
    stem, extension = case.name.rsplit(".", 1)
    return replace(case, name=f"{stem}.{rng.choice([other for other in FORMATS if other != extension])}")


def _text(rng: random.Random, case: Case) -> Case:
    return replace(case, data=b"No sound in here.\n" * rng.randrange(10, 5000))


def _longer(rng: random.Random, case: Case) -> Case:
    return replace(case, duration=f"PT{SECONDS + rng.randrange(3, 300)}S")


KINDS = (
    Kind("end is missing", "truncated", file=_cut),
    Kind("a bit changed", "corrupt", ("flac", "ogg"), file=_flip),
    Kind("a bit changed, hash declared", "checksum_mismatch", file=_declared_flip),
    Kind("a bit changed, no hash", "corrupt", ("mp3", "wav"), file=_flip, out_of_reach=True),
    Kind("another format's name", "wrong_container", file=_renamed),
    Kind("empty file", "zero_byte", file=lambda _, case: replace(case, data=b"")),
    Kind("text called audio", "not_audio", file=_text),
    Kind("nearly silent", "silence", ("flac", "ogg", "wav"), sound=lambda _, s: s * np.float32(1e-5)),
    Kind("overdriven", "clipping", ("flac", "wav"), sound=lambda _, s: np.clip(s / (np.abs(s).mean() or 1) * 2, -1, 1)),
    Kind("half a second", "too_short", sound=lambda _, s: s[: len(s) // (2 * SECONDS)]),
    Kind("longer declared", "duration_mismatch", file=_longer),
    Kind("no title", "missing_tags", tags={"artist": "Ada"}),
    Kind("no ISRC", "invalid_isrc", ("flac", "ogg", "mp3"), tags={"title": "T", "artist": "A", "isrc": "US-S1Z-99-OOOO1"}),
    Kind("title without end", "name_too_long", tags={"title": "La " * 400, "artist": "Ada"}),
)  # fmt: skip


def excerpts(folder: Path, count: int, rng: random.Random) -> list[tuple[Samples, int]]:
    """Excerpts of `SECONDS` from the recordings below `folder`: samples by channel, and their rate in Hz.

    Raises:
        FatalError: there is no recording of at least a minute.
    """
    recordings = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in READ]
    long = [path for path in recordings if soundfile.info(os.fspath(path)).duration >= 60]
    if not long:
        raise FatalError(f"'{folder}' holds no recordings of at least a minute.", hint="Name a folder of music.")
    found = []
    for _ in range(count):
        with soundfile.SoundFile(os.fspath(rng.choice(long))) as sound:
            # Neither the silence before a recording nor its last chord fading out.
            sound.seek(int(sound.frames * rng.uniform(0.15, 0.75)))
            found.append((sound.read(SECONDS * sound.samplerate, dtype="float32", always_2d=True), sound.samplerate))
    return found


def encoded(samples: Samples, rate_hz: int, extension: str, tags: dict[str, str], folder: Path) -> bytes:
    """The file that `samples` make, with tags."""
    path = folder / f"encoded.{extension}"
    container, subtype = FORMATS[extension]
    with soundfile.SoundFile(
        os.fspath(path), "w", rate_hz, channels=samples.shape[1], format=container, subtype=subtype
    ) as sound:
        if extension == "wav":  # INFO chunks, which mutagen doesn't write
            for name in {"title", "artist"} & set(tags):
                setattr(sound, name, tags[name])
        # libsndfile's Vorbis encoder overflows its stack on long blocks.
        for start in range(0, len(samples), 1 << 14):
            sound.write(samples[start : start + (1 << 14)])
    if extension != "wav":
        file = mutagen.File(path, easy=True)
        for name, value in tags.items():
            file[name] = value
        file.save()
    return path.read_bytes()


def code_of(case: Case, folder: Path) -> list[str]:
    """Codes under which the file is refused, the first that a delivery would name first; none when it is taken."""
    path = folder / "judged"
    path.write_bytes(case.data)
    facts = probe(path, case.name)
    if case.sha256 and case.sha256 != facts.sha256:
        return ["checksum_mismatch"]
    try:
        item = judge(facts, RECEIVED_ON).item
    except RejectedInputError as error:
        return [error.reason]
    record = Metadata(
        title=item.title,
        artist=item.artist,
        delivered_on=RECEIVED_ON,
        duration=case.duration,
        decoded_ms=facts.duration_ms,
        silent_ratio=facts.silent_ratio,
        clipped_ratio=facts.clipped_ratio,
    )
    return [finding.rule.code for finding in assess(record).findings if finding.rule.severity == "quarantined"]


def run(audio: Path, *, errors: int = 3_000, clean: int = 1_000, seed: int = 1) -> dict[str, Any]:
    """Spoil about `errors` files made of excerpts of the recordings below `audio`, and judge `clean` ones as they are."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    pool = excerpts(audio, min(clean, MAX_EXCERPTS), rng)
    right_tags = {"title": "Excerpt", "artist": "Ada"}
    per_kind = -(-errors // sum(not kind.out_of_reach for kind in KINDS))
    rows = []
    with tempfile.TemporaryDirectory(prefix="wavehouse-damage-") as name:
        folder = Path(name)

        @cache
        def whole(number: int, extension: str) -> bytes:
            return encoded(*pool[number], extension, right_tags, folder)

        def spoilt(kind: Kind, number: int) -> Case:
            extension, place = kind.formats[number % len(kind.formats)], rng.randrange(len(pool))
            samples, rate_hz = pool[place]
            if kind.sound:
                samples = kind.sound(rng, samples).astype(np.float32)
                data = encoded(samples, rate_hz, extension, right_tags, folder)
            elif kind.tags:
                data = encoded(samples, rate_hz, extension, kind.tags, folder)
            else:
                data = whole(place, extension)
            case = Case(data, f"a.{extension}")
            return kind.file(rng, case) if kind.file else case

        for kind in KINDS:
            codes = Counter("+".join(code_of(spoilt(kind, n), folder)) or "nothing" for n in range(per_kind))
            rows.append(
                {
                    "kind": kind.name,
                    "code": kind.code,
                    "must": "quarantine",
                    "injected": per_kind,
                    "right": sum(number for code, number in codes.items() if kind.code in code.split("+")),
                    "found_as": dict(codes.most_common(4)),
                    "out_of_reach": kind.out_of_reach,
                }
            )
        refused: Counter[str] = Counter()
        for number in range(clean):
            extension = tuple(FORMATS)[number // len(pool) % len(FORMATS)]
            case = Case(whole(number % len(pool), extension), f"a.{extension}", duration=f"PT{SECONDS}S")
            refused.update(code_of(case, folder)[:1])
    in_reach = [row for row in rows if not row["out_of_reach"]]
    injected, right = (sum(row[name] for row in in_reach) for name in ("injected", "right"))
    outcome = {
        "kinds": rows,
        "errors": injected,
        "right_percent": 100 * right / injected,
        "clean": clean,
        "false_refusals_percent": 100 * refused.total() / clean,
        "false_refusals_by_rule": dict(refused),
        "goals": GOALS,
    }
    outcome["met"] = (
        outcome["right_percent"] >= GOALS["right_percent"]
        and outcome["false_refusals_percent"] <= GOALS["false_refusals_percent"]
    )
    return outcome
