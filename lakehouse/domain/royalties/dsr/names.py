"""Names of the files of a report.

DSR_MessageRecipient_MessageSender_ServiceDescription_MessageNotificationPeriod_TerritoryOfUseOrSale_xofy_MessageCreatedDateTime.tsv[.gz]

Source: DDEX, Digital Sales Report Message Suite, Part 1, clause 8.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from lakehouse.errors import RejectedInputError

_PERIOD = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-\d{2}(--\d{4}-\d{2}-\d{2})?)?|-Q[1-4]|-W(0[1-9]|[1-4]\d|5[0-3]))?")
_COUNTER = re.compile(r"([1-9]\d*)of([1-9]\d*)")
_CREATED = re.compile(r"\d{8}T\d{6}(\d{3})?")


@dataclass(frozen=True)
class FileName:
    """The elements of a name. `recipient` may be "" (several recipients), `number` and `total` are 1 where left out."""

    recipient: str
    sender: str
    service: str
    period: str
    territory: str
    number: int
    total: int
    created: str

    def __str__(self) -> str:
        """The name itself, uncompressed.

        Raises:
            RejectedInputError: `dsr_file_name`, an element has a space or an underscore, or is none of its kind.
        """
        counter = f"{self.number}of{self.total}"
        parts = (self.recipient, self.sender, self.service, self.period, self.territory, counter, self.created)
        name = "_".join(("DSR", *parts)) + ".tsv"
        parse(name)
        return name


def created(moment: datetime) -> str:
    """`moment` as in a name: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S")


def parse(name: str) -> FileName:
    """The elements of a file's name.

    Raises:
        RejectedInputError: `dsr_file_name`, with the element in the message.
    """
    stem = re.fullmatch(r"(.+)\.tsv(\.gz)?", name)
    if not stem:
        raise _rejected(name, "extension", "must be .tsv or .tsv.gz")
    parts = stem[1].split("_")
    if len(parts) != 8 or parts[0] != "DSR":  # noqa: PLR2004 - the elements above
        raise _rejected(name, "name", "must be DSR and seven elements with underscores between them")
    recipient, sender, service, period, territory, counter, moment = parts[1:]
    number = _COUNTER.fullmatch(counter or "1of1")
    for element, is_good, rule in (
        ("name", " " not in name, "must not have a space"),
        ("MessageSender", sender, "must not be empty"),
        (
            "MessageNotificationPeriod",
            _PERIOD.fullmatch(period),
            "must be a year, quarter, month, week, day or two days",
        ),
        ("xofy", number and int(number[1]) <= int(number[2]), "must be a file's number and their total, as 1of2"),
        ("MessageCreatedDateTime", _CREATED.fullmatch(moment), "must be yyyymmddThhmmss"),
    ):
        if not is_good:
            raise _rejected(name, element, rule)
    of = (counter or "1of1").split("of")
    return FileName(recipient, sender, service, period, territory, int(of[0]), int(of[1]), moment)


def _rejected(name: str, element: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"{name}: {element} {rule}.",
        reason="dsr_file_name",
        value=name,
        hint="The naming rule is in docs/architecture/sales-reports.md.",
    )
