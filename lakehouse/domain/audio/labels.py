"""The file in which people tell the genre or the mood of recordings: comma-separated, with a header.

    track_id,label            or        isrc,label
    1893247120384,Ambient               SE6XX2600001,Ambient

Other columns are for the people who fill it in. A row that breaks a rule is named and left out; the others are used.
Labels are words of the operator: they are compared as they are written, without spaces around them.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize

from lakehouse.domain.catalog.identifiers import normalise_isrc
from lakehouse.errors import RejectedInputError

#: Columns that name the recording; a file has one of them.
NAMES = ("track_id", "isrc")
LABEL = "label"
MAX_LABEL = 64
_TRACK_ID = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class Known:
    """A track of the catalogue that a row may name, and whether it has the features that are learned from."""

    track_id: int
    isrc: str | None
    has_features: bool


@dataclass(frozen=True)
class Labelled:
    """A row that is used: the track and what it was called."""

    track_id: int
    label: str


def parse(text: str, *, name: str, tracks: Iterable[Known]) -> tuple[list[Labelled], list[RejectedInputError]]:
    """The rows of a file that can be learned from, and of each other row why not; together they are all of its rows.

    `name` is the file's, for messages. A rejected row has the text of the field as its value and one of the reasons
    bad_row, bad_track_id, bad_isrc, empty_label, bad_label, unknown_track, ambiguous_isrc, no_features, duplicate_row,
    contradiction, label_spelling.

    Raises:
        RejectedInputError: the file as a whole is of no use: bad_csv, bad_header.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if row]
    except csv.Error as error:
        raise _refused(name, reader.line_num, "row", "", "bad_csv", str(error)) from error
    header = rows[0][1] if rows else []
    named = [column for column in header if column in NAMES]
    if len(named) != 1 or header.count(LABEL) != 1:
        rule = f"must have the column {LABEL} and one of {', '.join(NAMES)}"
        raise _refused(name, 1, "header", ",".join(header), "bad_header", rule)
    finder = _Finder(tracks, named[0])
    used: dict[int, tuple[int, Labelled]] = {}
    spellings: dict[str, str] = {}
    rejected: list[RejectedInputError] = []
    for number, row in rows[1:]:
        try:
            if len(row) != len(header):
                raise _Bad("row", ",".join(row), "bad_row", f"must have {len(header)} fields")
            fields = dict(zip(header, row, strict=True))
            label = _label(fields[LABEL])
            track = finder.find(fields[named[0]])
            if track.track_id in used:
                first, known = used[track.track_id]
                reason = "duplicate_row" if known.label == label else "contradiction"
                raise _Bad(LABEL, label, reason, f"row {first} calls this track '{known.label}'")
            if spellings.setdefault(label.casefold(), label) != label:
                raise _Bad(LABEL, label, "label_spelling", f"rows above spell it '{spellings[label.casefold()]}'")
        except _Bad as bad:
            rejected.append(_refused(name, number, bad.field, bad.value, bad.reason, bad.rule))
        else:
            used[track.track_id] = number, Labelled(track.track_id, label)
    return [labelled for _, labelled in used.values()], rejected


class _Bad(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, field: str, value: str, reason: str, rule: str) -> None:
        super().__init__(reason)
        self.field, self.value, self.reason, self.rule = field, value, reason, rule


class _Finder:
    """Finds the track that a field names."""

    def __init__(self, tracks: Iterable[Known], column: str) -> None:
        self._column = column
        self._by_name: dict[int | str, list[Known]] = defaultdict(list)
        for track in tracks:
            name = track.track_id if column == "track_id" else track.isrc
            if name is not None:
                self._by_name[name].append(track)

    def find(self, text: str) -> Known:
        found = self._by_name.get(self._name(text), [])
        if not found:
            raise _Bad(self._column, text, "unknown_track", "no music track of the catalogue has it")
        if len(found) > 1:
            raise _Bad(self._column, text, "ambiguous_isrc", f"{len(found)} tracks have it; name them by track_id")
        if not found[0].has_features:
            raise _Bad(self._column, text, "no_features", "has no published features of this extractor version yet")
        return found[0]

    def _name(self, text: str) -> int | str:
        if self._column == "track_id":
            if not _TRACK_ID.fullmatch(text):
                raise _Bad("track_id", text, "bad_track_id", "must be a whole number, as the catalogue gives it")
            return int(text)
        try:
            return normalise_isrc(text)
        except ValueError as error:
            raise _Bad("isrc", text, "bad_isrc", "must be an ISRC (ISO 3901)") from error


def _label(text: str) -> str:
    label = normalize("NFC", text)
    if not label:
        raise _Bad(LABEL, text, "empty_label", "must not be empty")
    if len(label) > MAX_LABEL or not label.isprintable():
        raise _Bad(LABEL, text, "bad_label", f"must be up to {MAX_LABEL} printable characters")
    return label


def _refused(name: str, row: int, field: str, value: str, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"{name}, row {row}, {field}: '{value[:80]}' ({rule}).",
        reason=reason,
        value=value,
        hint="Mend the row and run the command again.",
    )
