"""Why an audio file is not accepted: the codes that stand in the ledger, in reports and in the supplier's answer.

What is wrong with its tags has the code of a rule about metadata (`lakehouse.domain.catalog.quality.rules`).
"""

from __future__ import annotations

from enum import Enum
from typing import Literal


class Reason(Enum):
    """A rejection: its stable code, what it means, an example and how the supplier mends it."""

    ZERO_BYTE = (
        "zero_byte",
        "The file is empty.",
        "0 bytes",
        "Upload the file again; the transfer or the export failed.",
    )
    NOT_AUDIO = (
        "not_audio",
        "The content is of no audio format that the platform reads.",
        "a JPEG, an HTML page of a failed download",
        "Deliver FLAC, WAV, AIFF, MP3, Ogg Vorbis or Opus; keep pictures and texts out of the delivery.",
    )
    PROTECTED = (
        "protected",
        "The audio is encrypted or under DRM.",
        "FairPlay `.m4p`, Widevine",
        "Deliver the master without protection; a copy bought from a shop can't be delivered.",
    )
    WRONG_CONTAINER = (
        "wrong_container",
        "The file name says one format, the content is another; somebody renamed it.",
        "`song.mp3` that holds FLAC",
        "Give the file the extension of its real format, or export it again.",
    )
    UNDECODABLE = (
        "undecodable",
        "The format is known, but the decoder cannot open the file.",
        "AAC in `.m4a`; a header of zeros",
        "Export the file again; its header is damaged or the codec is not supported.",
    )
    TRUNCATED = (
        "truncated",
        "The file ends before the length that it declares.",
        "a transfer that broke off at 60 %",
        "Upload the whole file again.",
    )
    CORRUPT = (
        "corrupt",
        "The file is complete, but checksums or the decoder show damage inside.",
        "one byte of an Ogg page differs",
        "Upload the file again from an undamaged copy.",
    )
    TOO_SHORT = (
        "too_short",
        "The audio is shorter than the minimum.",
        "500 ms, at least 1000 ms",
        "Deliver the whole recording.",
    )
    TOO_LONG = ("too_long", "The audio is longer than the maximum.", "25 hours, at most 24", "Split the recording.")
    SAMPLE_RATE = (
        "sample_rate",
        "The sample rate is outside of what the platform handles.",
        "4000 Hz",
        "Deliver the master at 44.1, 48, 88.2 or 96 kHz.",
    )
    CHANNELS = (
        "channels",
        "There are more channels than the platform handles.",
        "12 channels, at most 8",
        "Deliver a mono or stereo mix.",
    )
    MISSING_TAGS = (
        "missing_tags",
        "The title or the artist is missing or blank.",
        "a file without tags",
        "Write the tags `title` and `artist` into the file and upload it again.",
    )
    INVALID_ATTRIBUTES = (
        "invalid_attributes",
        "Other tags do not fit the schema of the content kind.",
        "a number where a text belongs",
        "Correct the tags named in the message.",
    )
    ATTRIBUTES_TOO_LARGE = (
        "attributes_too_large",
        "What is said of one item beside its names takes up more than 1,000,000 bytes.",
        "a picture as text in the show notes",
        "Shorten the longest text; a program may have put a picture or a book there.",
    )

    def __init__(self, code: str, meaning: str, example: str, fix: str) -> None:
        self.code = code
        self.meaning = meaning
        self.example = example
        self.fix = fix

    @property
    def severity(self) -> Literal["quarantined"]:
        """As of a rule about metadata: the file waits for somebody."""
        return "quarantined"


#: Not a rejection: the content is in the catalogue already under another name; the ledger points to it.
DUPLICATE_AUDIO = "duplicate_audio"
