"""Gathers the facts about an audio file that `lakehouse.domain.audio.validation` judges. Memory stays bounded: files
are hashed, checked and decoded in blocks.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from lakehouse.domain.audio.containers import HEAD_BYTES, integrity, sniff
from lakehouse.domain.audio.protection import protection
from lakehouse.domain.audio.validation import AudioFacts

#: Small enough that a decoder's failure loses little of what decoded before it.
BLOCK_FRAMES = 1 << 14
#: libsndfile says this when a header gives no length.
_UNKNOWN_FRAMES = (0, 0x7FFFFFFFFFFFFFFF)
#: libsndfile cannot decode them; mutagen could read the tags, but nothing would check the sound.
_UNSUPPORTED = frozenset({"mp4", "asf"})
#: Names that ID3 gives to what Vorbis comments call otherwise (ID3v2.4.0 frames).
_ID3_NAMES = {
    "TIT2": "title",
    "TPE1": "artist",
    "TALB": "album",
    "TSRC": "isrc",
    "TCON": "genre",
    "WCOP": "license",
    "TDRC": "date",
    "TCOM": "composer",
    "TPE2": "albumartist",
    "TRCK": "tracknumber",
    "TPOS": "discnumber",
    "TLAN": "language",
    # Frames that a program names; what it calls them is upper case in most.
    "TXXX:BARCODE": "barcode",
    "TXXX:UPC": "barcode",
    "TXXX:ISWC": "iswc",
    "TXXX:ITUNESADVISORY": "itunesadvisory",
    "TXXX:EXPLICIT": "explicit",
    # The id of the recording, and so is the Vorbis comment, whatever its name says (tag mapping of MusicBrainz Picard).
    "UFID:HTTP://MUSICBRAINZ.ORG": "musicbrainz_trackid",
    # Vorbis comments have no other name for it in use than these two.
    "UPC": "barcode",
}


def probe(path: Path, object_key: str) -> AudioFacts:
    """The facts about the file at `path`, which is known as `object_key`. A bad file gives facts too, not an error."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        facts = AudioFacts(
            object_key=object_key,
            size_bytes=size,
            sha256=hashlib.file_digest(stream, "sha256").hexdigest(),
            container=sniff(head),
        )
        if facts.container is None:
            return facts
        protected = protection(stream, facts.container, size)
        stream.seek(0)
        facts = replace(facts, protection=protected, integrity=integrity(stream, facts.container, size))
    if facts.container in _UNSUPPORTED:
        return replace(facts, open_error=f"no decoder for {facts.container}")
    facts = _decode(path, facts)
    # WAVE carries its tags in INFO chunks, which only libsndfile reads; or in an ID3 chunk, which only mutagen reads.
    return replace(facts, tags=facts.tags | _tags(path))


def opened(source: Path | BinaryIO) -> Any:
    """A `soundfile.SoundFile` to be read block by block: the blocks are what one read of the whole file would give.

    soundfile seeks after each read of a seekable file, and MP3 decodes differently after a seek.

    Raises:
        soundfile.LibsndfileError, TypeError: as `SoundFile` does.
    """
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]  # the library is not typed
        def seekable(self) -> bool:
            return False

    return Forward(os.fspath(source) if isinstance(source, Path) else source)


def _decode(path: Path, facts: AudioFacts) -> AudioFacts:
    """Decode the file to its end, count what came out and, of a whole file, keep the chromaprint of all of it."""
    import numpy as np
    import soundfile

    from lakehouse.adapters.chromaprint import Fingerprinter

    try:
        sound = opened(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a raw format, which needs a declared rate
        return replace(facts, open_error=str(getattr(error, "error_string", error)))
    with sound:
        md5 = _flac_md5(path) if facts.container == "flac" else ""
        digest = hashlib.md5(usedforsecurity=False)
        dtype = "int16" if sound.subtype == "PCM_16" else "int32"
        frames, failure, silent, clipped = 0, "", 0, 0
        full = 0x7FFF if dtype == "int16" else 0x7FFFFF00
        whole = not (facts.integrity.truncated or facts.integrity.corrupt)
        fingerprinter = Fingerprinter(sound.samplerate, length_s=None) if whole else None
        try:
            while len(block := sound.read(BLOCK_FRAMES, dtype=dtype, always_2d=True)):
                frames += len(block)
                # The most negative value has no positive counterpart: above and below are compared apart.
                silent += int(((block < full // 1000) & (block > -full // 1000)).sum())
                clipped += int(((block >= full) | (block <= -full)).sum())
                if fingerprinter:
                    fingerprinter.add(block.mean(axis=1, dtype=np.float32) / np.float32(full))
                if md5:
                    digest.update(_little_endian(block, sound.subtype))
        except soundfile.LibsndfileError as error:
            failure = error.error_string
        if md5 and not failure and digest.hexdigest() != md5:
            failure = "the checksum of the decoded samples differs from the one that FLAC declares"
        heard = fingerprinter.finish_raw().tolist() if fingerprinter and not failure else ()
        declared = _declared(facts.container, sound.frames)
        samples = max(1, frames * sound.channels)
        return replace(
            facts,
            audio_format=f"{sound.format}/{sound.subtype}",
            sample_rate_hz=sound.samplerate,
            channels=sound.channels,
            declared_frames=declared,
            decoded_frames=frames,
            decode_error=failure,
            end_decodes=declared is None or frames >= declared or _reads_frame(path, declared - 1),
            tags=sound.copy_metadata(),
            silent_ratio=silent / samples,
            clipped_ratio=clipped / samples,
            fingerprint=tuple(heard),
        )


def _declared(container: str | None, frames: int) -> int | None:
    """Frames that the header promises. Ogg promises none: the position of its last page is a length only where the
    stream began at zero, and streams cut from a longer one did not (Vorbis I, A.2). `integrity` checks its pages.
    """
    return None if container == "ogg" or frames in _UNKNOWN_FRAMES else frames


def _reads_frame(path: Path, frame: int) -> bool:
    """Whether one frame far into a damaged file can still be read: then the damage is inside, not a missing end."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fspath(path)) as sound:
            sound.seek(frame)
            return bool(len(sound.read(1)))
    except soundfile.LibsndfileError:
        return False


def _flac_md5(path: Path) -> str:
    """The MD5 of the samples that STREAMINFO declares (RFC 9639, 8.2), in hex; "" when it declares none."""
    from mutagen import MutagenError
    from mutagen.flac import FLAC

    try:
        signature = FLAC(path).info.md5_signature
    except MutagenError:
        return ""
    return f"{signature:032x}" if signature else ""


def _little_endian(block: Any, subtype: str) -> bytes:
    """Samples as FLAC hashes them: interleaved, signed, little endian, in whole bytes of their own width."""
    width = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}[subtype]
    if width == block.itemsize:
        return bytes(block.astype("<i2").tobytes())
    raw = block.astype("<i4").view("u1").reshape(*block.shape, 4)  # libsndfile puts the bits at the top of 32
    return bytes(raw[..., 4 - width :].tobytes())


def _tags(path: Path) -> dict[str, str]:
    """Tags by their Vorbis name in lower case, first value each; none when there are none or they are unreadable."""
    from mutagen import File, MutagenError
    from mutagen.id3 import UFID

    try:
        file = File(path)
    except MutagenError:
        return {}
    tags: dict[str, str] = {}
    for name, value in (file.tags or {}).items() if file else ():
        if isinstance(value, UFID):
            values = [value.data.decode("ascii", "replace")]
        else:
            values = value if isinstance(value, list) else getattr(value, "text", None) or [value]
        tags.setdefault(_ID3_NAMES.get(name.upper(), name.lower()), str(values[0]))
    return tags
