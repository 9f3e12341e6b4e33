"""Reads and checks a report of anybody, in one pass.

What is kept is a line, a block, a number or two for each summary record and file, and 16 bytes of every BlockId and
SalesTransactionId: none of them may come back. Where those are kept the caller says; a set in memory does for a report
of some hundred thousand lines.

A line that can't be taken apart is named once; what would follow from it (counts of streams) is then not compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from lakehouse.domain.royalties.dsr import names
from lakehouse.domain.royalties.dsr.cells import CONTROL, EscapeError, split
from lakehouse.domain.royalties.dsr.records import VERSIONS, CellFault, Profile, faults, profile
from lakehouse.errors import RejectedInputError

#: Longest line that is read, in bytes.
MAX_LINE = 1 << 20
# Records by their family, the type without its version (SU02 of SU02.03).
_RESOURCES = ("AS01", "AS02")
_RELEASES = ("RE01", "RE02")
#: Cell with the number of uses of a detail record, and of a summary record that counts the uses of the report.
_DETAIL_USES = {"SU01": "Usages", "SU02": "NumberOfStreams"}
_SUMMARY_USES = {"SY01.01": "Usages", "SY02.02": "Usages", "SY01.03": "TotalUsages"}
#: Order of the records within a block.
_STAGE = {"RE01": 0, "AS01": 1, "MW01": 1, "AS02": 1, "RE02": 2, "SU01": 3, "SU02": 3}


@dataclass(frozen=True)
class Violation:
    """One broken rule: the file, the line (from 1; 0: the file itself), record type, cell (number and name), code."""

    file: str
    line: int
    record: str
    cell: str
    rule: str
    message: str
    value: str = ""


@dataclass
class _Block:
    block_id: str
    first_line: int
    stage: int = -1
    last: str = ""
    resources: set[str] = field(default_factory=set)
    releases: set[str] = field(default_factory=set)
    is_readable: bool = True


@dataclass
class _Summary:
    file: str
    line: int
    kind: str
    cells: dict[str, str]
    profile: Profile
    uses: Decimal = Decimal(0)


@dataclass
class _File:
    header: dict[str, str] = field(default_factory=dict)
    footer: dict[str, str] = field(default_factory=dict)
    summaries: set[str] = field(default_factory=set)
    blocks: int = 0
    block: _Block | None = None
    #: That of its header; before it is read, and where it names an unknown one, any will do for HEAD and FOOT.
    profile: Profile = field(default_factory=profile)
    is_known: bool = True
    has_started: bool = False
    #: A line that can't be read may belong to the next block.
    is_next_block_readable: bool = True


def new_in_memory() -> Callable[[bytes], bool]:
    """Tells of each key whether it is new, and remembers it, in memory."""
    seen: set[bytes] = set()

    def is_new(key: bytes) -> bool:
        before = len(seen)
        seen.add(key)
        return len(seen) > before

    return is_new


@dataclass
class Reading:
    """A report in the course of being read: `read` each of its files, in the order of their numbers, then `finish`.

    `is_new` tells of a key of 16 bytes whether it comes for the first time. The other public attributes are what was
    counted so far.
    """

    is_new: Callable[[bytes], bool] = field(default_factory=new_in_memory)
    lines: int = 0
    blocks: int = 0
    uses: Decimal = Decimal(0)
    header: dict[str, str] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    _summaries: dict[str, _Summary] = field(default_factory=dict)
    _is_comparable: bool = True
    _file: str = ""
    _line: int = 0
    _record: str = ""

    @property
    def summaries(self) -> int:
        """Number of summary records."""
        return len(self._summaries)

    def read(self, name: str, lines: Iterable[bytes], *, check_name: bool = True) -> Iterator[Violation]:
        """What is wrong with the file `name` whose lines, with their ends, are `lines`."""
        self._file, self._line = name, 0
        file = _File()
        for raw in lines:
            self._line += 1
            yield from self._one(file, raw)
        self._record = ""
        if self._line == 0:
            yield self._violation("", "empty_file", "has no line")
        elif not file.footer:
            yield self._violation("", "missing_footer", "has no FOOT record; cut off?")
        self.lines += self._line
        self.blocks += file.blocks
        if check_name:
            yield from self._name(file.header)
        yield from self._foot(file)

    def finish(self) -> Iterator[Violation]:
        """What is wrong with the report as a whole, once all its files were read."""
        self._record = ""
        total = int(self.header.get("NumberOfFiles", "0") or 0)
        missing = sorted(set(range(1, min(total, 10_000) + 1)) - set(self.numbers))
        if missing:
            yield Violation(self._file, 0, "", "", "missing_file", f"file {missing[0]} of {total} was not given")
            return
        if not self.header:
            return
        # Before version 1.4 of part 1, a header and a footer alone said that nothing was sold.
        is_needed = self.header.get("ProfileVersion") != "1.2" or self.blocks > 0
        if not self._summaries and self._is_comparable and is_needed:
            yield Violation(self._file, 0, "", "", "missing_summary", "a report needs a summary record")
        if not self._is_comparable:
            return
        for summary in self._summaries.values():
            cell = _SUMMARY_USES.get(summary.kind)
            if cell and not _is_number(summary.cells[cell], summary.uses):
                yield Violation(
                    summary.file,
                    summary.line,
                    summary.kind,
                    summary.profile.number(summary.kind, cell),
                    "summary_differs_from_detail",
                    f"the blocks have {summary.uses}",
                    summary.cells[cell],
                )

    def _one(self, file: _File, raw: bytes) -> Iterator[Violation]:
        """What is wrong with one line."""
        self._record = ""
        cells, violations = self._take_apart(raw)
        yield from violations
        if cells is None:
            if violations:
                self._unreadable(file)
            return
        kind = self._record = cells[0][0] if cells[0] else ""
        is_first, file.has_started = not file.has_started, True
        if is_first and kind != "HEAD":
            yield self._violation("", "missing_header", "the first record must be HEAD")
            # The version is then told by the first record that only one has.
            file.profile = next((of for of in map(profile, VERSIONS) if kind in of.records), file.profile)
        if file.footer:
            yield self._violation("", "record_after_footer", "comes after the footer")
        elif not is_first and kind == "HEAD":
            yield self._violation("", "second_header", "a file has one header, in its first line")
        elif kind in file.profile.records and (file.is_known or kind == "FOOT"):
            yield from self._record_of(file, kind, cells[1:])
        elif file.is_known:
            known = f"{file.profile.name} {file.profile.version}"
            yield self._violation("1 RecordType", "unknown_record", f"is no record of {known}", kind)
            self._unreadable(file)

    def _record_of(self, file: _File, kind: str, cells: list[list[str]]) -> Iterator[Violation]:
        """What is wrong with a record of the profile."""
        found = list(faults(file.profile, kind, cells))
        yield from (self._violation(fault.cell, fault.rule, fault.message, fault.value) for fault in found)
        if any(fault.rule == "wrong_cell_count" for fault in found):
            # Of a header of unknown shape it can't be told which profile it names.
            file.is_known = file.is_known and kind != "HEAD"
            file.footer = file.footer or ({"": ""} if kind == "FOOT" else {})
            self._unreadable(file)
            return
        known = file.profile.records[kind]
        values = {cell.name: "|".join(value) for cell, value in zip(known, cells[: len(known)], strict=True)}
        good = {name: value for name, value in values.items() if not _is_faulty(name, found)} if found else values
        if kind == "HEAD":
            file.header = values
            file.is_known = _is_supported(values["Profile"], values["ProfileVersion"])
            file.profile = profile(values["ProfileVersion"]) if file.is_known else file.profile
            self._is_comparable = self._is_comparable and file.is_known
            yield from self._head(good)
        elif kind == "FOOT":
            file.footer = good or {"": ""}
            yield from self._end(file.block)
        elif kind.startswith("SY"):
            if file.block:
                yield self._violation("", "record_out_of_place", "summaries come before the blocks")
            yield from self._summary(file, kind, values)
        else:
            if file.block is None or values["BlockId"] != file.block.block_id:
                yield from self._end(file.block)
                file.block = _Block(values["BlockId"], self._line, is_readable=file.is_next_block_readable)
                file.is_next_block_readable = True
                file.blocks += 1
                if good.get("BlockId") and not self._is_new("block", values["BlockId"]):
                    yield self._violation(
                        "2 BlockId", "block_returns", "came before: a block's records stand together", values["BlockId"]
                    )
            yield from self._in_block(file.block, kind, values, good)

    def _unreadable(self, file: _File) -> None:
        self._is_comparable = False
        file.is_next_block_readable = False
        if file.block:
            file.block.is_readable = False

    def _take_apart(self, raw: bytes) -> tuple[list[list[str]] | None, list[Violation]]:
        """Cells of a line; none for a line that is empty, a comment, or wrong as a whole."""
        if len(raw) > MAX_LINE:
            return None, [self._violation("", "line_too_long", f"has more than {MAX_LINE} bytes")]
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            return None, [self._violation("", "bad_encoding", f"is not UTF-8 at byte {error.start + 1}")]
        text = text.removesuffix("\n").removesuffix("\r")
        violations = []
        if self._line == 1 and text.startswith("\ufeff"):
            text = text[1:]
            violations.append(self._violation("", "byte_order_mark", "starts with a byte order mark"))
        if text.startswith("#") or not text.strip("\t"):
            if CONTROL.search(text):
                violations.append(self._violation("", "control_character", "holds a control character"))
            return None, violations
        try:
            return split(text), violations
        except EscapeError as error:
            self._record = text.split("\t", 1)[0]
            return None, [*violations, self._violation(str(error.place), "bad_escape", str(error))]

    def _head(self, good: dict[str, str]) -> Iterator[Violation]:
        name, newest = profile().name, profile().version
        if not _is_supported(good.get("Profile", name), good.get("ProfileVersion", newest)):
            yield self._violation(
                "3 Profile",
                "unsupported_profile",
                f"only {name} {' and '.join(VERSIONS)} are checked; of this file only the number of lines was",
                f"{good.get('Profile', '')} {good.get('ProfileVersion', '')}",
            )
        number, total = good.get("FileNumber"), good.get("NumberOfFiles")
        if number and total:
            if not 1 <= int(number) <= int(total):
                yield self._violation("7 FileNumber", "file_number", f"must be 1 to {total}", number)
            elif int(number) in self.numbers:
                yield self._violation("7 FileNumber", "file_number", "came before", number)
            self.numbers.append(int(number))
        start, end = good.get("UsageStartDate", ""), good.get("UsageEndDate", "")
        if start and end and end < start and not start.startswith(end):
            yield self._violation("10 UsageEndDate", "period_reversed", f"is before {start}", end)
        recipient = good.get("RecipientPartyId"), good.get("RecipientName")
        if None not in recipient and bool(recipient[0]) != bool(recipient[1]):
            yield self._violation("14 RecipientPartyId", "recipient_incomplete", "goes with RecipientName")
        yield from self._service("13 ServiceDescription", good.get("ServiceDescription", ""))
        if not self.header:
            self.header = good
            return
        for cell, value in good.items():
            if cell not in ("FileNumber", "MessageCreatedDateTime") and value != self.header.get(cell, value):
                yield self._violation(cell, "header_differs", "is another in an earlier file of the report", value)

    def _service(self, cell: str, value: str) -> Iterator[Violation]:
        if " " in value or "_" in value:
            yield self._violation(cell, "bad_service", "must have no space and no underscore", value)

    def _summary(self, file: _File, kind: str, values: dict[str, str]) -> Iterator[Violation]:
        summary_id = values["SummaryRecordId"]
        if summary_id in file.summaries:
            yield self._violation("2 SummaryRecordId", "duplicate_summary", "came before", summary_id)
        file.summaries.add(summary_id)
        yield from self._service("8 ServiceDescription", values.get("ServiceDescription", ""))
        earlier = self._summaries.setdefault(summary_id, _Summary(self._file, self._line, kind, values, file.profile))
        if earlier.file != self._file and (earlier.kind, earlier.cells) != (kind, values):
            yield self._violation("2 SummaryRecordId", "summary_differs", f"is another in {earlier.file}", summary_id)

    def _in_block(self, block: _Block, kind: str, values: dict[str, str], good: dict[str, str]) -> Iterator[Violation]:
        family = _family(kind)
        stage = _STAGE[family]
        is_first_release = family == "RE01" and block.stage >= 0
        is_lone_work = family == "MW01" and _family(block.last) not in ("AS01", "MW01")
        if block.is_readable and (stage < block.stage or is_first_release or is_lone_work):
            yield self._violation("", "record_out_of_place", f"can't follow {block.last or 'the start of its block'}")
        elif block.is_readable and stage > 1 and not block.resources:
            yield self._violation("", "record_out_of_place", "comes before any resource of its block")
        block.stage, block.last = max(stage, block.stage), kind
        for kinds, cell, known in (
            (_RESOURCES, "ResourceReference", block.resources),
            (_RELEASES, "ReleaseReference", block.releases),
        ):
            if family in kinds:
                if values[cell] in known:
                    yield self._violation(f"3 {cell}", "duplicate_reference", "came before", values[cell])
                known.add(values[cell])
        if family == "MW01" and block.is_readable and values.get("ResourceReference", "") not in {"", *block.resources}:
            yield self._violation(
                "17 ResourceReference", "unknown_reference", "is no resource of the block", values["ResourceReference"]
            )
        if family == "RE02" and block.is_readable:
            for reference in values["UsedResources"].split("|"):
                if reference not in block.resources:
                    yield self._violation(
                        "6 UsedResources", "unknown_reference", "is no resource of the block", reference
                    )
        if family in _DETAIL_USES:
            yield from self._detail(block, _DETAIL_USES[family], values, good)

    def _detail(self, block: _Block, uses: str, values: dict[str, str], good: dict[str, str]) -> Iterator[Violation]:
        # Version 1.4 renamed these two, and doesn't say any more that they exclude each other.
        suffix = "" if "TransactedRelease" in values else "Reference"
        release, resource = values[f"TransactedRelease{suffix}"], values[f"TransactedResource{suffix}"]
        if not (release or resource) or (release and resource and not suffix):
            yield self._violation(
                f"5 TransactedRelease{suffix}", "transacted", "either this or the transacted resource needs a value"
            )
        elif block.is_readable:
            if release and release not in block.releases:
                yield self._violation(
                    f"5 TransactedRelease{suffix}", "unknown_reference", "is no release of the block", release
                )
            if resource and resource not in block.resources:
                yield self._violation(
                    f"6 TransactedResource{suffix}", "unknown_reference", "is no resource of the block", resource
                )
        transaction = good.get("SalesTransactionId")
        if transaction and not self._is_new("transaction", transaction):
            yield self._violation("4 SalesTransactionId", "duplicate_transaction", "came before", transaction)
        summary = self._summaries.get(values["SummaryRecordId"])
        if summary is None:
            if good.get("SummaryRecordId"):
                yield self._violation(
                    "3 SummaryRecordId", "unknown_summary", "is no summary", values["SummaryRecordId"]
                )
            self._is_comparable = False
        if not good.get(uses):
            self._is_comparable = False
            return
        number = Decimal(values[uses])
        self.uses += number
        if summary:
            summary.uses += number

    def _is_new(self, kind: str, identifier: str) -> bool:
        """Whether an identifier comes for the first time in the report."""
        return self.is_new(hashlib.blake2b(identifier.encode(), digest_size=16, person=kind.encode()).digest())

    def _end(self, block: _Block | None) -> Iterator[Violation]:
        if block and block.is_readable and block.stage < _STAGE["SU01"]:
            yield Violation(
                self._file, block.first_line, "", "2 BlockId", "block_without_sales", "has no SU record", block.block_id
            )

    def _foot(self, file: _File) -> Iterator[Violation]:
        is_last = file.header.get("FileNumber") == file.header.get("NumberOfFiles")
        counts = [
            ("2 NumberOfLinesInFile", "line_count", self._line),
            ("5 NumberOfBlocksInFile", "block_count", file.blocks),
            ("3 NumberOfLinesInReport", "line_count", self.lines),
            ("6 NumberOfBlocksInReport", "block_count", self.blocks),
        ]
        for cell, rule, counted in counts:
            given = file.footer.get(cell.split()[1])
            if given is None or (cell.endswith("InReport") and not is_last):
                continue
            if rule == "block_count" and not (self._is_comparable and file.is_known):
                continue
            if not given:
                yield self._foot_violation(cell, "missing_value", "needs a value in the last file")
            elif int(given) != counted:
                yield self._foot_violation(cell, f"{rule}_mismatch", f"there are {counted}", given)
        given = file.footer.get("NumberOfSummaryRecords")
        # Of a report in several files each may have all summaries or its own.
        counted = len(file.summaries)
        if given and self._is_comparable and file.is_known and int(given) not in (counted, self.summaries):
            yield self._foot_violation(
                "4 NumberOfSummaryRecords", "summary_count_mismatch", f"there are {counted}", given
            )

    def _foot_violation(self, cell: str, rule: str, message: str, value: str = "") -> Violation:
        return Violation(self._file, self._line, "FOOT", cell, rule, message, value)

    def _name(self, header: dict[str, str]) -> Iterator[Violation]:
        try:
            name = names.parse(self._file)
        except RejectedInputError as error:
            yield Violation(self._file, 0, "", "", "bad_file_name", error.message.split(": ", 1)[1])
            return
        channels = {summary.cells.get("DistributionChannelDPID", "") for summary in self._summaries.values()}
        for element, given, allowed in (
            ("MessageRecipient", name.recipient, {header.get(c) for c in ("RecipientPartyId", "RecipientName")}),
            ("MessageSender", name.sender, {header.get(c) for c in ("SenderPartyId", "SenderName")} | channels),
            ("ServiceDescription", name.service, {header.get("ServiceDescription") or name.service}),
            ("xofy", f"{name.number}of{name.total}", {f"{header.get('FileNumber')}of{header.get('NumberOfFiles')}"}),
        ):
            # Names of parties may be shortened in a file's name; identifiers may not.
            is_exact = element in ("ServiceDescription", "xofy") or given.startswith("PADPIDA")
            if header and given and is_exact and given not in allowed:
                yield Violation(self._file, 0, "", element, "file_name_differs", "is another in the header", given)

    def _violation(self, cell: str, rule: str, message: str, value: str = "") -> Violation:
        return Violation(self._file, self._line, self._record, cell, rule, message, value[:200])


def _is_faulty(name: str, found: Iterable[CellFault]) -> bool:
    return any(fault.cell.split(" ", 1)[-1] == name for fault in found)


def _family(kind: str) -> str:
    return kind.split(".", 1)[0]


def _is_supported(name: str, version: str) -> bool:
    return name == profile().name and version in VERSIONS


def _is_number(text: str, number: Decimal) -> bool:
    try:
        return Decimal(text) == number
    except InvalidOperation:
        return False
