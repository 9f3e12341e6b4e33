"""What services do all day: the same step again and again."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from lakehouse.errors import RejectedInputError, WavehouseError
from lakehouse.failures import translate


def repeat(step: Callable[[], None], stop: Event, *, every_s: float, say: Callable[[str], None]) -> None:
    """Do `step` until `stop` is set, with a pause of `every_s` seconds after each.

    Engines that are away, or have no tables or buckets yet, are waited out, and so is a defect of ours, which is
    logged. Each is said once, and again after a step that went well.

    Raises:
        RejectedInputError: raised by the step; what it was told to do is wrong, and waiting mends nothing.
    """
    said = ""
    while not stop.is_set():
        try:
            step()
            said = ""
        except RejectedInputError:
            raise
        except Exception as error:
            shown = error if isinstance(error, WavehouseError) else translate(error)
            if shown.message != said:
                said = shown.message
                say(f"{said} Trying again every {every_s:g} s.")
        stop.wait(every_s)
