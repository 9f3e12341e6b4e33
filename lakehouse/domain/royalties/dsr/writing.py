"""Makes a report of one file on streams: a header, a summary a sales context, a block (a recording, then its uses) a
recording, a footer with the counts. Nothing is taken from a clock; the same values give the same bytes.

What can't be verified of version 1.4: its own value of MessageVersion (the one written here names part 1 in version
1.4, and the last versions of parts 2 and 8 that could be read), and the cells of SY02.04 after the eighth, which is
why contexts are written as SY01.03. See docs/architecture/sales-reports.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from lakehouse.domain.royalties.dsr import names
from lakehouse.domain.royalties.dsr.cells import join
from lakehouse.domain.royalties.dsr.records import CURRENT, Profile, faults, profile
from lakehouse.errors import RejectedInputError

#: By version of the profile: versions of parts 1, 2 and 8 that a header names, unless the recipient asked for others.
MESSAGE_VERSIONS = {"1.2": "dsrf/1.2/1.2/1.2", "1.4": "dsrf/1.4/1.5/1.4"}
#: By version: the records for a context, a recording and its uses.
RECORDS = {"1.2": ("SY02.02", "AS02.02", "SU02"), "1.4": ("SY01.03", "AS02.04", "SU02.03")}
#: Cells that version 1.4 calls otherwise than 1.2, whose names are used below.
_RENAMED = {
    "1.4": {
        "TotalUsages": "Usages",
        "ResourceISRC": "ISRC",
        "ResourceTitle": "Title",
        "ResourceDisplayArtistName": "DisplayArtistName",
        "ResourceDuration": "Duration",
        "MusicalWorkISWC": "ISWC",
        "MusicalWorkComposerAuthorName": "ComposerAuthor",
        "TransactedResourceReference": "TransactedResource",
    }
}


@dataclass(frozen=True)
class Party:
    """A sender or recipient: DDEX Party Identifier and full name."""

    dpid: str
    name: str


@dataclass(frozen=True)
class Header:
    """Who reports what to whom. `created_at` carries a time zone; `first_on` and `last_on` are the days reported.

    `version` is that of the profile; without a `message_version` the one of `MESSAGE_VERSIONS` is written.
    """

    message_id: str
    created_at: datetime
    first_on: date
    last_on: date
    sender: Party
    recipient: Party
    service: str
    version: str = CURRENT
    message_version: str = ""


@dataclass(frozen=True)
class Context:
    """A sales context: what all streams that refer to `summary_id` have in common, and how many they are.

    `net_revenue` is in units (not minor units) of `currency`; `territory` an ISO 3166-1 code.
    """

    summary_id: str
    commercial_model: str
    territory: str
    service: str
    currency: str
    usages: int
    net_revenue: Decimal
    use_type: str = "OnDemandStream"
    users: int | None = None
    subscribers: int | None = None
    content_category: str = "Music"


@dataclass(frozen=True)
class Sale:
    """Streams of a recording in one context. `transaction_id` is unique within the message."""

    summary_id: str
    transaction_id: str
    streams: int


@dataclass(frozen=True)
class Recording:
    """A recording and its streams; `isrc`, `duration_ms`, `iswc` and `writers` where they are known."""

    resource_id: str
    title: str
    artist: str
    sales: Sequence[Sale]
    isrc: str = ""
    duration_ms: int | None = None
    iswc: str = ""
    writers: Sequence[str] = ()


def file_name(header: Header, territory: str) -> names.FileName:
    """Name of the report's one file; `territory` is a code, or what sender and recipient agreed on for several."""
    one_month = (header.first_on.year, header.first_on.month) == (header.last_on.year, header.last_on.month)
    is_whole_month = one_month and header.first_on.day == 1 and _next_day(header.last_on).day == 1
    period = f"{header.first_on:%Y-%m}" if is_whole_month else f"{header.first_on}--{header.last_on}"
    return names.FileName(
        header.recipient.dpid,
        header.sender.dpid,
        header.service,
        period,
        territory,
        1,
        1,
        names.created(header.created_at),
    )


def render(header: Header, contexts: Sequence[Context], recordings: Iterable[Recording]) -> Iterator[str]:
    """The lines of the file, each with its end. Recordings are read one at a time.

    Raises:
        RejectedInputError: `dsr_cell`, a value doesn't fit its cell (record and cell in the message); `dsr_no_context`,
            there is no context or a sale refers to none; `dsr_summary_differs`, a context and its sales count different
            streams.
    """
    if not contexts:
        raise _rejected("dsr_no_context", "a report needs a sales context, also for no streams at all")
    left = {context.summary_id: context.usages for context in contexts}
    of = profile(header.version)
    summary, resource, usage = RECORDS[header.version]
    yield _record(of, "HEAD", _head(header))
    for context in contexts:
        yield _record(of, summary, _summary(context))
    lines, blocks = 1 + len(contexts), 0
    for blocks, recording in enumerate(recordings, start=1):
        yield _record(of, resource, {"BlockId": str(blocks), **_resource(recording)})
        for sale in recording.sales:
            if sale.summary_id not in left:
                raise _rejected("dsr_no_context", f"recording {recording.resource_id}: no context {sale.summary_id}")
            left[sale.summary_id] -= sale.streams
            yield _record(of, usage, {"BlockId": str(blocks), **_usage(sale)})
        if not recording.sales:
            raise _rejected("dsr_no_context", f"recording {recording.resource_id}: has no streams to report")
        lines += 1 + len(recording.sales)
    for summary_id, difference in left.items():
        if difference:
            raise _rejected(
                "dsr_summary_differs", f"context {summary_id}: {difference} streams more than its sales have"
            )
    counts = {
        "NumberOfLinesInFile": lines + 1,
        "NumberOfLinesInReport": lines + 1,
        "NumberOfSummaryRecords": len(contexts),
        "NumberOfBlocksInFile": blocks,
        "NumberOfBlocksInReport": blocks,
    }
    yield _record(of, "FOOT", {name: str(count) for name, count in counts.items()})


def duration(milliseconds: int) -> str:
    """ISO 8601 duration (PT1H2M3.5S) of a number of milliseconds, not below zero."""
    seconds, rest = divmod(milliseconds, 1000)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    fraction = f".{rest:03d}".rstrip("0") if rest else ""
    return f"PT{f'{hours}H' if hours else ''}{f'{minutes}M' if minutes else ''}{seconds % 60}{fraction}S"


def _next_day(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


def _head(header: Header) -> dict[str, str]:
    return {
        "MessageVersion": header.message_version or MESSAGE_VERSIONS[header.version],
        "Profile": profile(header.version).name,
        "ProfileVersion": header.version,
        "MessageId": header.message_id,
        "MessageCreatedDateTime": header.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "FileNumber": "1",
        "NumberOfFiles": "1",
        "UsageStartDate": header.first_on.isoformat(),
        "UsageEndDate": header.last_on.isoformat(),
        "SenderPartyId": header.sender.dpid,
        "SenderName": header.sender.name,
        "ServiceDescription": header.service,
        "RecipientPartyId": header.recipient.dpid,
        "RecipientName": header.recipient.name,
    }


def _summary(context: Context) -> dict[str, str]:
    return {
        "SummaryRecordId": context.summary_id,
        "CommercialModel": context.commercial_model,
        "UseType": context.use_type,
        "Territory": context.territory,
        "ServiceDescription": context.service,
        "Usages": str(context.usages),
        "Users": "" if context.users is None else str(context.users),
        "Subscribers": "" if context.subscribers is None else str(context.subscribers),
        "CurrencyOfReporting": context.currency,
        # 5.5, not 5.50: decimals carry no zeros at their end.
        "NetRevenue": f"{context.net_revenue.normalize():f}" if context.net_revenue else "0",
        "ContentCategory": context.content_category,
    }


def _resource(recording: Recording) -> dict[str, str | Sequence[str]]:
    return {
        "ResourceReference": "1",
        "DspResourceId": recording.resource_id,
        "ISRC": recording.isrc,
        "Title": recording.title,
        "DisplayArtistName": recording.artist,
        "Duration": "" if recording.duration_ms is None else duration(recording.duration_ms),
        "ResourceType": "SoundRecording",
        "ISWC": recording.iswc,
        "ComposerAuthor": recording.writers,
    }


def _usage(sale: Sale) -> dict[str, str]:
    return {
        "SummaryRecordId": sale.summary_id,
        "SalesTransactionId": sale.transaction_id,
        "TransactedResource": "1",
        "IsRoyaltyBearing": "true",
        "NumberOfStreams": str(sale.streams),
    }


def _record(of: Profile, kind: str, values: Mapping[str, str | Sequence[str]]) -> str:
    renamed = _RENAMED.get(of.version, {})
    cells = []
    for cell in of.records[kind]:
        value = values.get(renamed.get(cell.name, cell.name), "")
        cells.append(([value] if value else []) if isinstance(value, str) else list(value))
    for fault in faults(of, kind, cells):
        raise _rejected("dsr_cell", f"{kind}, cell {fault.cell} {fault.message}: '{fault.value}'")
    return join([[kind], *cells]) + "\n"


def _rejected(reason: str, message: str) -> RejectedInputError:
    return RejectedInputError(
        f"Sales report: {message}.", reason=reason, hint="Correct the value where it comes from, then write again."
    )
