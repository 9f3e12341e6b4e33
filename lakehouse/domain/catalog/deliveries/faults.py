"""Why a message, a feed or a file beside audio is not taken, or what is told of one that is."""

from __future__ import annotations

from lakehouse.domain.catalog.quality.rules import Coded


class Fault(Coded):
    """A code, its severity, what it says, an example and how to mend it."""

    XML_INVALID = (
        "xml_invalid",
        "quarantined",
        "The document is not well-formed XML, or is empty.",
        "a message that was cut off",
        "Send the whole document.",
    )
    XML_FORBIDDEN = (
        "xml_forbidden",
        "quarantined",
        "The document has a DTD or entities.",
        "`<!DOCTYPE a [<!ENTITY ...>]>`",
        "Send a plain XML document without a DTD.",
    )
    XML_TOO_LARGE = (
        "xml_too_large",
        "quarantined",
        "The document has more than 64 MiB, 2,000,000 elements or 64 levels.",
        "elements nested 100 deep",
        "Send one release a message.",
    )
    UNKNOWN_VERSION = (
        "unknown_version",
        "quarantined",
        "The namespace is that of no version of ERN which is read.",
        "ERN 3.4.1",
        "Send ERN 4.3, 4.2 or 3.8.2.",
    )
    UNKNOWN_MESSAGE = (
        "unknown_message",
        "quarantined",
        "The root element is no message that is read.",
        "`CatalogListMessage`",
        "Send a NewReleaseMessage or a PurgeReleaseMessage.",
    )
    ERN_INCOMPLETE = (
        "ern_incomplete",
        "quarantined",
        "Something that the catalogue needs is missing from the message or unreadable; the text says what.",
        "no MessageId; a deal that ends before it starts; a message dated before 2006",
        "Complete the message and send it again.",
    )
    UNMATCHED_DEALS = (
        "unmatched_deals",
        "quarantined",
        "Deals name a release that the message does not describe, or none is about the release or a track of it.",
        "`DealReleaseReference` R9, but the releases are R0 to R2",
        "Correct the references. To take a release down, send a message without deals or a PurgeReleaseMessage.",
    )
    UNSUPPORTED_RESOURCE = (
        "unsupported_resource",
        "noted",
        "A resource that is neither sound, picture nor text, or a picture out of a video, is left out.",
        "the music videos of a release of mixed media",
        "Nothing; the rest of the release is taken. One without any sound recording is quarantined.",
    )
    UNKNOWN_RELEASE = (
        "unknown_release",
        "quarantined",
        "A takedown of a release that was never delivered.",
        "a mistyped UPC",
        "Correct the identifier.",
    )
    OUT_OF_ORDER = (
        "out_of_order",
        "quarantined",
        "The message or feed is not newer than the one in force.",
        "an update of Monday after that of Tuesday",
        "Send a new message with a new id and the date of now.",
    )
    MESSAGE_REUSED = (
        "message_reused",
        "quarantined",
        "The message in force has the same id and other content.",
        "one MessageId, two titles",
        "Send a new message with a new id and the date of now.",
    )
    FOREIGN_RELEASE = (
        "foreign_release",
        "quarantined",
        "The release was delivered by another sender.",
        "two DPIDs, one UPC",
        "Have the first sender take it down or send the update.",
    )
    MISSING_RESOURCE = (
        "missing_resource",
        "quarantined",
        "A file that the message names is not in the delivery, nor did an earlier one bring it.",
        "`resources/02.flac` is still being uploaded",
        "Send the files; the message is looked at again when they change.",
    )
    UNREADABLE = (
        "unreadable",
        "quarantined",
        "The file or folder can't be read.",
        "permission denied",
        "Make it readable or send it again.",
    )
    FILE_CHANGED = (
        "file_changed",
        "quarantined",
        "The file was changed while it was read.",
        "an export that goes on",
        "Send it again once nobody writes to it.",
    )
    NO_SUCH_OBJECT = (
        "no_such_object",
        "quarantined",
        "The object is not in the store any more.",
        "somebody deleted it after it was listed",
        "Upload it again.",
    )
    BAD_OBJECT_NAME = (
        "bad_object_name",
        "quarantined",
        "The object has a name that can't be asked for.",
        "`a//../b.flac`",
        "Name it without control characters and without empty, `.` or `..` parts between slashes.",
    )
    FEED_INVALID = (
        "feed_invalid",
        "quarantined",
        "The document is no RSS feed with a title.",
        "a channel without `title`",
        "Send RSS 2.0.",
    )
    MISSING_AUDIO = (
        "missing_audio",
        "quarantined",
        "An episode has no enclosure with an address, or an item of another kind lacks the audio that it needs.",
        "an item that only announces something",
        "Add the enclosure.",
    )
    DUPLICATE_GUID = (
        "duplicate_guid",
        "quarantined",
        "An episode before it in the feed has the same guid.",
        "a copied item",
        "Give each episode a guid of its own.",
    )
    INVALID_AUDIO_URL = (
        "invalid_audio_url",
        "quarantined",
        "The address of an episode's audio is none.",
        "`http://[x/1.mp3`",
        "Correct the enclosure.",
    )
    AMBIGUOUS_AUDIO = (
        "ambiguous_audio",
        "noted",
        "Several episodes' addresses end in the name of a file beside the feed: it is taken for none of them.",
        "`/1/audio.mp3` and `/2/audio.mp3`",
        "Name the files differently.",
    )
    LYRICS_INVALID = (
        "lyrics_invalid",
        "quarantined",
        "Lyrics that are not UTF-8, have no line or are too long.",
        "UTF-16",
        "Save as UTF-8, plain or LRC.",
    )
    MERCH_INVALID = (
        "merch_invalid",
        "quarantined",
        "`merch.json` is no list of links.",
        "`javascript:` instead of `https:`",
        'Send `[{"title": ..., "url": "https://..."}]`.',
    )
    NO_TRACK = (
        "no_track",
        "quarantined",
        "No track that was taken belongs to the picture or lyrics.",
        "`02 Song.lrc` without `02 Song.flac`",
        "Mend the audio beside it first, or rename the file like its track.",
    )
    NO_ALBUM = (
        "no_album",
        "quarantined",
        "A picture or links beside tracks without an album.",
        "`cover.jpg` beside a file without the tag `album`",
        "Deliver the tracks with the tag `album`.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        "quarantined",
        "A defect of ours; the others went on.",
        "a `KeyError`",
        "Report it with the end of `defects.log`.",
    )

    def about(self, resource: str, value: object, meaning: str = "") -> dict[str, object]:
        """As a finding of a report; `resource` names what it is about inside a delivery."""
        return {
            "resource": resource,
            "code": self.code,
            "severity": self.severity,
            "meaning": meaning or self.meaning,
            "value": value,
        }
