"""Decides from the facts about a file whether its audio is sound. Pure: the facts are gathered elsewhere.

`tagged` decides what its tags make of it; Spark's workers, which load this for every file, need none of that.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from lakehouse.domain.audio.containers import EXTENSIONS, Integrity
from lakehouse.domain.audio.reasons import Reason
from lakehouse.errors import RejectedInputError


@dataclass(frozen=True)
class Limits:
    """What is accepted. Below 1 s nothing can be measured (loudness gates by 400 ms blocks, ITU-R BS.1770-4);
    a play of more than a day is refused by the rules of listening; the rates are those of Opus and of DXD.
    """

    min_duration_ms: int = 1_000
    max_duration_ms: int = 86_400_000
    min_sample_rate_hz: int = 8_000
    max_sample_rate_hz: int = 384_000
    max_channels: int = 8


@dataclass(frozen=True)
class AudioFacts:
    """What a probe found in one file.

    `container` is by content (see `containers.sniff`); `protection` is what encrypts the audio, "" when nothing does;
    `audio_format` names container and codec as the decoder does. `declared_frames` is what the header says (None:
    nothing), `decoded_frames` what came out, `decode_error` why the decoder gave up, `end_decodes` whether the last
    declared sample is there all the same. `silent_ratio` and `clipped_ratio` are the shares of samples below -60 dBFS
    and at full scale. Tags have lower-case names and their
    first value. `fingerprint`: see `lakehouse.domain.catalog.quality.duplicates`.
    """

    object_key: str
    size_bytes: int
    sha256: str
    container: str | None = None
    protection: str = ""
    audio_format: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    declared_frames: int | None = None
    decoded_frames: int = 0
    open_error: str = ""
    decode_error: str = ""
    end_decodes: bool = True
    integrity: Integrity = field(default_factory=Integrity)
    tags: dict[str, str] = field(default_factory=dict)
    silent_ratio: float = 0.0
    clipped_ratio: float = 0.0
    fingerprint: tuple[int, ...] = ()

    @property
    def duration_ms(self) -> int:
        """Decoded length in ms, rounded half up."""
        if not self.sample_rate_hz:
            return 0
        return (self.decoded_frames * 1000 + self.sample_rate_hz // 2) // self.sample_rate_hz


def check_sound(facts: AudioFacts, limits: Limits | None = None) -> None:
    """Check the file and its sound, whatever its tags say.

    Raises:
        RejectedInputError: the file breaks a rule; `reason` is the code of a `Reason`, `value` the offending value.
    """
    _check_file(facts)
    _check_audio(facts, limits or Limits())


def rejection(reason: Reason, detail: str, value: object) -> RejectedInputError:
    """The error of one `reason`, with the offending value and the way to mend it."""
    return RejectedInputError(f"{reason.meaning} ({detail})", reason=reason.code, value=value, hint=reason.fix)


def _check_file(facts: AudioFacts) -> None:
    if facts.size_bytes == 0:
        raise rejection(Reason.ZERO_BYTE, "0 bytes", 0)
    if facts.container is None:
        raise rejection(Reason.NOT_AUDIO, "unknown signature", posixpath.basename(facts.object_key))
    if facts.protection:  # before the name: a shop's own extension says the same less clearly
        raise rejection(Reason.PROTECTED, facts.protection, facts.container)
    extension = posixpath.splitext(facts.object_key)[1].lstrip(".").lower()
    if extension not in EXTENSIONS[facts.container]:
        raise rejection(Reason.WRONG_CONTAINER, f"'.{extension}' holds {facts.container}", [extension, facts.container])
    if facts.integrity.truncated:
        raise rejection(Reason.TRUNCATED, facts.integrity.truncated, facts.size_bytes)
    if facts.open_error:
        raise rejection(Reason.UNDECODABLE, facts.open_error, facts.container)
    if facts.integrity.corrupt:
        raise rejection(Reason.CORRUPT, facts.integrity.corrupt, facts.size_bytes)
    if facts.declared_frames is not None and facts.decoded_frames < facts.declared_frames:
        raise rejection(
            Reason.CORRUPT if facts.end_decodes else Reason.TRUNCATED,
            f"{facts.decoded_frames} of {facts.declared_frames} samples decode",
            [facts.decoded_frames, facts.declared_frames],
        )
    if facts.decode_error:
        raise rejection(Reason.CORRUPT, facts.decode_error, facts.decoded_frames)


def _check_audio(facts: AudioFacts, limits: Limits) -> None:
    if facts.duration_ms < limits.min_duration_ms:
        raise rejection(
            Reason.TOO_SHORT, f"{facts.duration_ms} ms, at least {limits.min_duration_ms} ms", facts.duration_ms
        )
    if facts.duration_ms > limits.max_duration_ms:
        raise rejection(
            Reason.TOO_LONG, f"{facts.duration_ms} ms, at most {limits.max_duration_ms} ms", facts.duration_ms
        )
    if not limits.min_sample_rate_hz <= facts.sample_rate_hz <= limits.max_sample_rate_hz:
        raise rejection(Reason.SAMPLE_RATE, f"{facts.sample_rate_hz} Hz", facts.sample_rate_hz)
    if facts.channels > limits.max_channels:
        raise rejection(Reason.CHANNELS, f"{facts.channels} channels, at most {limits.max_channels}", facts.channels)
