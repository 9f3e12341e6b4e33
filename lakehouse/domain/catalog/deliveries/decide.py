"""What a message does to a release, given what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.domain.catalog.deliveries.messages import Message
from lakehouse.errors import RejectedInputError

Decision = Literal["publish", "takedown", "unchanged"]


@dataclass(frozen=True)
class Known:
    """The newest version of a release: its number, whose it is, the message that made it, and a hash of its content."""

    version: int
    sender: str
    message_id: str
    message_at: datetime
    digest: str


def decide(message: Message, digest: str, known: Known | None) -> Decision:
    """What to do. `digest` is the hash of the message's whole content.

    Raises:
        RejectedInputError: `unknown_release` (a takedown of what was never delivered), `out_of_order` (older than what
            is known), `message_reused` (one id, two contents), `foreign_release` (the release is another sender's).
    """
    if known is None:
        if message.action == "takedown":
            raise _refused(Fault.UNKNOWN_RELEASE, message, f"Release {message.release_key} was never delivered.")
        return "publish"
    if known.sender != message.sender:
        raise _refused(Fault.FOREIGN_RELEASE, message, f"Release {message.release_key} is {known.sender}'s.")
    if message.message_id == known.message_id:
        if digest == known.digest:
            return "unchanged"
        raise _refused(Fault.MESSAGE_REUSED, message, f"Message {message.message_id} came before with other content.")
    if message.created_at <= known.message_at:
        raise _refused(
            Fault.OUT_OF_ORDER,
            message,
            f"Message {message.message_id} of {message.created_at.isoformat()} is not newer than "
            f"{known.message_id} of {known.message_at.isoformat()}, which is in force.",
        )
    return message.action


def _refused(why: Fault, message: Message, text: str) -> RejectedInputError:
    return RejectedInputError(text, reason=why.code, value=message.message_id, hint=why.fix)
