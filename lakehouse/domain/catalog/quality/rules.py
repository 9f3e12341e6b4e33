"""The catalogue of metadata rules: code, severity, what it says, an example and how to mend it."""

from __future__ import annotations

from enum import Enum
from typing import Literal

#: `corrected`: mended without a doubt, and recorded. `quarantined`: kept until somebody mends it. `noted`: told only.
Severity = Literal["corrected", "quarantined", "noted"]


class Coded(Enum):
    """What the entries of a catalogue of codes have: code, severity, what it says, an example and how to mend it."""

    def __init__(self, code: str, severity: Severity, meaning: str, example: str, fix: str) -> None:
        self.code = code
        self.severity: Severity = severity
        self.meaning = meaning
        self.example = example
        self.fix = fix


class Rule(Coded):
    """A rule about metadata. `catalogue.ENTRIES` has these and all other codes."""

    UNTIDY_TEXT = (
        "untidy_text",
        "corrected",
        "Control or invisible characters, doubled or outer spaces, or a form of Unicode other than NFC.",
        "'Blue  Note ' for 'Blue Note'",
        "Nothing; the text is tidied.",
    )
    MOJIBAKE = (
        "mojibake",
        "corrected",
        "UTF-8 that was read as another encoding.",
        "'BjÃ¶rk' for 'Björk'",
        "Nothing; the text is decoded again. Check the export's encoding.",
    )
    LOST_CHARACTERS = (
        "lost_characters",
        "quarantined",
        "Characters were replaced by U+FFFD or question marks.",
        "'Bj\ufffdrk', 'Sigur R?s'",
        "Deliver the text again; what was lost can't be guessed.",
    )
    MARKUP = (
        "markup",
        "corrected",
        "HTML entities in plain text.",
        "'Salt &amp; Pepper'",
        "Nothing; entities are resolved.",
    )
    MISSING_TITLE = ("missing_title", "quarantined", "The title is blank.", "''", "Deliver the title.")
    MISSING_ARTIST = ("missing_artist", "quarantined", "The display artist is blank.", "''", "Deliver the artist.")
    PLACEHOLDER = (
        "placeholder",
        "quarantined",
        "A program's default stands where a name belongs.",
        "'Unknown Artist', 'Track 01', 'TBA'",
        "Deliver the real name. The album of a tagged file is left out instead.",
    )
    NAME_TOO_LONG = (
        "name_too_long",
        "quarantined",
        "A title or a name has more than 500 characters, or more than 2,000 bytes.",
        "lyrics in the title",
        "Deliver the title alone.",
    )
    FEATURED_IN_TITLE = (
        "featured_in_title",
        "corrected",
        "A featured artist stands in the title instead of the list of artists.",
        "'Song (feat. Ada)'",
        "Nothing; the name moves to the featured artists.",
    )
    FEATURED_IN_ARTIST = (
        "featured_in_artist",
        "corrected",
        "A featured artist stands in the name of the main artist.",
        "'Bo feat. Ada'",
        "Nothing; the name moves to the featured artists.",
    )
    INVALID_ISRC = (
        "invalid_isrc",
        "quarantined",
        "No ISRC (ISO 3901).",
        "'USS1Z99OOOO1'",
        "Deliver the right ISRC.",
    )
    INVALID_ICPN = (
        "invalid_icpn",
        "quarantined",
        "No UPC or EAN, or its check digit is wrong (GS1).",
        "'4006381333932'",
        "Deliver the right UPC or EAN.",
    )
    INVALID_ISWC = (
        "invalid_iswc",
        "quarantined",
        "No ISWC, or its check digit is wrong (ISO 15707).",
        "'T-034.524.680-2'",
        "Deliver the right ISWC or leave it out.",
    )
    INVALID_IPI = (
        "invalid_ipi",
        "quarantined",
        "No IPI name number, or its check digits are wrong.",
        "'00000000198'",
        "Deliver the right number or leave it out.",
    )
    INVALID_ISNI = (
        "invalid_isni",
        "quarantined",
        "No ISNI, or its check character is wrong (ISO 27729).",
        "'0000000121032684'",
        "Deliver the right ISNI or leave it out.",
    )
    INVALID_MBID = (
        "invalid_mbid",
        "noted",
        "No MusicBrainz id of a recording, which is a UUID.",
        "'12345'",
        "Nothing is held back for it; the id is left out. Tag the file again, for example with MusicBrainz Picard.",
    )
    IDENTIFIER_FORM = (
        "identifier_form",
        "corrected",
        "A right identifier in another spelling.",
        "'us-s1z-99-00001'",
        "Nothing.",
    )
    INVALID_LANGUAGE = (
        "invalid_language",
        "quarantined",
        "No language tag of BCP 47.",
        "'jp'",
        "Deliver a tag such as 'ja'.",
    )
    CODE_FORM = (
        "code_form",
        "corrected",
        "A code of language or territory in another spelling.",
        "'ENG', 'uk'",
        "Nothing.",
    )
    LANGUAGE_SCRIPT = (
        "language_script",
        "quarantined",
        "The title is in a script that the declared language is not written in.",
        "language 'de', title '夜に駆ける'",
        "Correct the language or the title.",
    )
    INVALID_TERRITORY = (
        "invalid_territory",
        "quarantined",
        "No territory of ISO 3166-1, nor Worldwide.",
        "'EU', 'XX'",
        "List the territories.",
    )
    INVALID_DATE = (
        "invalid_date",
        "quarantined",
        "No date, or one that can be read in two ways.",
        "'2021-02-30', '03/04/2021'",
        "Deliver YYYY-MM-DD (ISO 8601).",
    )
    DATE_FORM = ("date_form", "corrected", "One date only can be meant, in another form.", "'31.12.2020'", "Nothing.")
    IMPLAUSIBLE_DATE = (
        "implausible_date",
        "quarantined",
        "Before the first recording of sound (1860), or more than two years after the delivery.",
        "'1021-05-01'",
        "Correct the date.",
    )
    DATE_ORDER = (
        "date_order",
        "quarantined",
        "The original release is later than this release.",
        "released 2019, originally 2020",
        "Correct one of the dates.",
    )
    INVALID_EXPLICIT = (
        "invalid_explicit",
        "quarantined",
        "No value of DDEX ParentalWarningType.",
        "'maybe'",
        "Deliver Explicit, NotExplicit, ExplicitContentEdited, NoAdviceAvailable or Unknown.",
    )
    EXPLICIT_FORM = ("explicit_form", "corrected", "The flag in another spelling.", "'yes', 'clean'", "Nothing.")
    EXPLICIT_CONFLICT = (
        "explicit_conflict",
        "quarantined",
        "The title says the contrary of the flag.",
        "'Song (Explicit)', NotExplicit",
        "Correct the flag or the title.",
    )
    INVALID_DURATION = (
        "invalid_duration",
        "quarantined",
        "The declared duration is no duration (ISO 8601) or is not positive.",
        "'3:45', 'PT0S'",
        "Deliver PT3M45S.",
    )
    DURATION_MISMATCH = (
        "duration_mismatch",
        "quarantined",
        "The declared duration differs from the decoded one by more than 2 s and more than 1 %.",
        "declared PT3M45S, decoded 30 s",
        "Correct the duration or deliver the whole recording.",
    )
    SILENCE = (
        "silence",
        "quarantined",
        "More than 95 % of the recording is below -60 dBFS.",
        "an empty export",
        "Export again; a recording that is meant to be silent is released by hand. Of a single file: a finding.",
    )
    CLIPPING = (
        "clipping",
        "quarantined",
        "More than 1 % of the samples are at full scale.",
        "a gain fault",
        "Deliver the unclipped master. Of a single file: a finding.",
    )
    CHECKSUM = (
        "checksum_mismatch",
        "quarantined",
        "The file's bytes are not those that the message declares.",
        "one bit differs",
        "Upload the file again.",
    )
    ARTWORK_FORMAT = (
        "artwork_format",
        "quarantined",
        "Artwork that is not JPEG or PNG.",
        "GIF",
        "Deliver JPEG or PNG.",
    )
    ARTWORK_SIZE = (
        "artwork_size",
        "quarantined",
        "Artwork that is not square (within 1 %) or outside of 1400 to 10000 pixels.",
        "600 x 600, 3000 x 2000",
        "Deliver a square of 3000 pixels.",
    )
    DUPLICATE_AUDIO = (
        "duplicate_audio",
        "noted",
        "The same bytes are known under another name.",
        "two keys, one SHA-256",
        "Nothing.",
    )
    DUPLICATE_RECORDING = (
        "duplicate_recording",
        "noted",
        "The same recording, by acoustic fingerprint, in another encoding.",
        "FLAC and MP3 of one master",
        "Nothing: both stay. `wavehouse ingest findings` lists them for people to look at.",
    )
    ISRC_REUSED = (
        "isrc_reused",
        "noted",
        "One ISRC, two recordings (ISO 3901: a recording has its own).",
        "two mixes, one ISRC",
        "Nothing is held back for it. Assign an ISRC to each, and deliver again.",
    )
    RECORDING_HAS_TWO_ISRCS = (
        "recording_two_isrcs", "noted", "One recording, two ISRCs.", "a re-release with a new ISRC",
        "Nothing is held back for it. Deliver the first ISRC.",
    )  # fmt: skip
