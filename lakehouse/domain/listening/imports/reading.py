"""Files of text as lines or as objects of a JSON list, in bounded memory, going on after a place that is broken.

Text is UTF-8, with or without a byte order mark, or UTF-16 with one. Bytes that are none become `UNREADABLE`, so that a
bad byte costs the row it is in and no other.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from lakehouse.domain.listening.imports.listens import is_unicode
from lakehouse.errors import RejectedInputError

#: The longest line and the longest object of a list [characters].
MAX_ROW = 1_000_000
PIECE = 1 << 16
#: Half of a surrogate pair: no text in UTF-8 or UTF-16 holds one.
UNREADABLE = "\udcff"


def _as_unreadable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNREADABLE, error.end


codecs.register_error("wavehouse-unreadable", _as_unreadable)


def opened(stream: IO[bytes], *, newline: str) -> io.TextIOWrapper:
    """`stream` as text; `newline` as of `open`."""
    buffered = io.BufferedReader(stream, PIECE)  # type: ignore[type-var]
    mark = buffered.peek(3)
    if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8"  # and not utf-8-sig, whose decoder is slow
        buffered.read(len(codecs.BOM_UTF8) if mark.startswith(codecs.BOM_UTF8) else 0)
    return io.TextIOWrapper(buffered, encoding=encoding, errors="wavehouse-unreadable", newline=newline)


def lines(stream: IO[bytes], *, newline: str) -> Iterator[str | RejectedInputError]:
    """Lines with their ends; or why one is none: `bad_row` (longer than `MAX_ROW`), `bad_encoding`."""
    text = opened(stream, newline=newline)
    while line := text.readline(MAX_ROW + 1):
        if len(line) > MAX_ROW:
            while line and not line.endswith(("\n", "\r")):
                line = text.readline(MAX_ROW)
            yield RejectedInputError("the line is longer than a million characters", reason="bad_row")
        elif not is_unicode(line):
            yield RejectedInputError("the line is not UTF-8", reason="bad_encoding")
        else:
            yield line


@dataclass(frozen=True)
class JsonList:
    """Where in a document the list is: what comes before its first value, what may follow its end, and keys of which
    every row has one or more, by which it is known again after a break.
    """

    opening: re.Pattern[str]
    ending: re.Pattern[str]
    keys: frozenset[str]

    def rows(self, stream: IO[bytes]) -> Iterator[object]:
        """The values of the list, or why one can't be read: `broken_json` (too long a one, too), `bad_encoding`.

        After a break it goes on where the next row begins. What is between is one rejected row, and one more for each
        place where an object begins that can't be read either. A comma too many or too few costs nothing.
        """
        window = _Window(opened(stream, newline="\n"))
        if not window.next():
            yield _broken("it is empty")
            return
        if not window.skip(self.opening):
            if not window.seek(self._is_row):
                return  # another kind of file, which the caller says
            yield _broken("the beginning of the list is missing")
        while True:
            place = window.next()
            while place == ",":
                window.at += 1
                place = window.next()
            try:
                if not place:
                    raise ValueError("it ends before the list does")
                if place == "]":
                    window.at += 1
                    if window.follows(self.ending):
                        return
                    raise ValueError("something follows the end of the list")
                yield window.value()
            except (ValueError, RecursionError) as error:
                yield _broken(str(error))
                if not window.seek(self._is_row):
                    return

    def _is_row(self, value: object) -> bool:
        return isinstance(value, Mapping) and not self.keys.isdisjoint(value)


def _broken(cause: str) -> RejectedInputError:
    return RejectedInputError(f"the file is broken here: {cause[:200]}", reason="broken_json")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


class _Window:
    """The part of a text that is looked at; `at` is the place in it."""

    _decoder = json.JSONDecoder(parse_constant=_no_number)
    _space = re.compile(r"[ \t\n\r]*")
    #: Where an object of a list may begin. Text of a document that is well formed has this nowhere else, but at the end
    #: of a string; an object that is read from there is broken at once.
    _start = re.compile(r'[\[},]\s{0,99}(?=\{\s{0,99}")')
    _LOOK_AHEAD = 256
    #: The longest thing whose end can be missing, a number apart: `-Infinity`, or the escape of a character.
    _CUT_OFF = 16

    def __init__(self, source: io.TextIOBase) -> None:
        self._source = source
        self._text = ""
        self._has_unreadable = False
        self.at = 0

    def _more(self) -> bool:
        """Read on, and forget what is before the place; False at the end of the file."""
        # Twice as much each time, so that what is tried again with more of the text stays cheap.
        piece = self._source.read(max(PIECE, len(self._text) - self.at))
        self._has_unreadable = self._has_unreadable or not is_unicode(piece)
        self._text, self.at = self._text[self.at :] + piece, 0
        return bool(piece)

    def next(self) -> str:
        """Go to the next character that is no white space; it, or nothing at the end of the file."""
        while True:
            if found := self._space.match(self._text, self.at):
                self.at = found.end()
            if self.at < len(self._text):
                return self._text[self.at]
            if not self._more():
                return ""

    def skip(self, opening: re.Pattern[str]) -> bool:
        """Go behind what `opening` matches, in the first `MAX_ROW` characters."""
        while not (found := opening.match(self._text, self.at)):
            if len(self._text) - self.at > MAX_ROW or not self._more():
                return False
        self.at = found.end()
        return True

    def follows(self, ending: re.Pattern[str]) -> bool:
        """Whether what is next matches `ending`."""
        self.next()
        while len(self._text) - self.at < self._LOOK_AHEAD and self._more():
            pass
        return ending.match(self._text, self.at) is not None

    def value(self) -> object:
        """Read a value and go behind it; or why it is not to be trusted (`bad_encoding`).

        Raises:
            ValueError: it is broken, or longer than `MAX_ROW`.
            RecursionError: it is nested too deeply.
        """
        value, end = self._decoded()
        start, self.at = self.at, end
        if self._has_unreadable and not is_unicode(self._text[start:end]):
            return RejectedInputError("the row is not UTF-8", reason="bad_encoding")
        return value

    def _decoded(self) -> tuple[object, int]:
        """The value at the place, and where it ends."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                if len(self._text) - self.at > MAX_ROW:
                    raise ValueError("a row is longer than a million characters") from error
                is_cut_off = error.pos > len(self._text) - self._CUT_OFF or error.msg.startswith("Unterminated string")
                if not is_cut_off or not self._more():
                    raise ValueError(error.msg) from error
                continue
            if end < len(self._text) or not self._more():
                return value, end
            # What ends with the text may go on: a number.

    def seek(self, is_row: Callable[[object], bool]) -> bool:
        """Go to where the next row begins, or an object that can't be read; False when there is none."""
        while True:
            if found := self._start.search(self._text, self.at):
                self.at = found.end()
                try:
                    value, end = self._decoded()
                except (ValueError, RecursionError):
                    return True
                if is_row(value):
                    return True
                self.at = end
            else:
                self.at = max(self.at, len(self._text) - self._LOOK_AHEAD)
                if not self._more():
                    return False
