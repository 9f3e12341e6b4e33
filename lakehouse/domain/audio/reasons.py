"""Why an audio file is not accepted: the codes that stand in the ledger, in reports and in the supplier's answer."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """A rejection: its stable code, what it means and how the supplier mends it."""

    ZERO_BYTE = ("zero_byte", "The file is empty.", "Upload the file again; the transfer or the export failed.")
    NOT_AUDIO = (
        "not_audio",
        "The content is of no audio format that the platform reads.",
        "Deliver FLAC, WAV, AIFF, MP3, Ogg Vorbis or Opus; keep pictures and texts out of the delivery.",
    )
    PROTECTED = (
        "protected",
        "The audio is encrypted or under DRM.",
        "Deliver the master without protection; a copy bought from a shop can't be delivered.",
    )
    WRONG_CONTAINER = (
        "wrong_container",
        "The file name says one format, the content is another; somebody renamed it.",
        "Give the file the extension of its real format, or export it again.",
    )
    UNDECODABLE = (
        "undecodable",
        "The format is known, but the decoder cannot open the file.",
        "Export the file again; its header is damaged or the codec is not supported.",
    )
    TRUNCATED = (
        "truncated",
        "The file ends before the length that it declares.",
        "Upload the whole file again.",
    )
    CORRUPT = (
        "corrupt",
        "The file is complete, but checksums or the decoder show damage inside.",
        "Upload the file again from an undamaged copy.",
    )
    TOO_SHORT = ("too_short", "The audio is shorter than the minimum.", "Deliver the whole recording.")
    TOO_LONG = ("too_long", "The audio is longer than the maximum.", "Split the recording.")
    SAMPLE_RATE = (
        "sample_rate",
        "The sample rate is outside of what the platform handles.",
        "Deliver the master at 44.1, 48, 88.2 or 96 kHz.",
    )
    CHANNELS = ("channels", "There are more channels than the platform handles.", "Deliver a mono or stereo mix.")
    MISSING_TAGS = (
        "missing_tags",
        "The title or the artist is missing or blank.",
        "Write the tags `title` and `artist` into the file and upload it again.",
    )
    NAME_TOO_LONG = (
        "name_too_long",
        "A title or a name has more than 500 characters, or more than 2,000 bytes.",
        "Shorten the tag; a program may have put lyrics or a comment there.",
    )
    INVALID_ISRC = (
        "invalid_isrc",
        "The tag `isrc` holds no ISRC (ISO 3901).",
        "Correct the tag or take it out.",
    )
    INVALID_ATTRIBUTES = (
        "invalid_attributes",
        "Other tags do not fit the schema of the content kind.",
        "Correct the tags named in the message.",
    )
    ATTRIBUTES_TOO_LARGE = (
        "attributes_too_large",
        "What is said of one item beside its names takes up more than 1,000,000 bytes.",
        "Shorten the longest text; a program may have put a picture or a book there.",
    )

    def __init__(self, code: str, meaning: str, fix: str) -> None:
        self.code = code
        self.meaning = meaning
        self.fix = fix


#: Not a rejection: the content is in the catalogue already under another name; the ledger points to it.
DUPLICATE_AUDIO = "duplicate_audio"
