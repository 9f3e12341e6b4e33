"""Listens that other services recorded: reading their exports, and when two listens are one.

`formats` and `reading` read, `listens` judges. None knows a clock, a file system or an engine; files come in as open
streams.
"""

from lakehouse.domain.listening.imports.formats import FORMATS, Owner, Row, read, wanted
from lakehouse.domain.listening.imports.listens import EARLIEST, TOLERANCE_S, Heard, Listen, Seen, check

__all__ = ["EARLIEST", "FORMATS", "TOLERANCE_S", "Heard", "Listen", "Owner", "Row", "Seen", "check", "read", "wanted"]
