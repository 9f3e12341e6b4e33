"""Data contracts; see `lakehouse.contracts.model`."""

from lakehouse.contracts.model import NAMESPACES, Column, Contract, all_ids, load

#: Topics that the simulator fills; each has a truth ledger, and `wavehouse verify` compares it.
SIMULATED_TOPICS = (
    "plays",
    "ad_impressions",
    "likes",
    "follows",
    "playlist_edits",
    "ad_clicks",
    "playback_telemetry",
)
#: Topic and bronze table of what could not be decoded.
DEAD_LETTERS = "dead_letters"
_KNOWN = {namespace: {i.split(".")[1] for i in all_ids() if i.startswith(f"{namespace}.")} for namespace in NAMESPACES}
#: Topics that producers write, in the order in which everything reports them: all that have a contract in bronze, where
#: the stream job keeps them. The other topics are derived from them.
EVENT_TOPICS = (
    *SIMULATED_TOPICS,
    *sorted((_KNOWN["topics"] & _KNOWN["bronze"]).difference(SIMULATED_TOPICS, {DEAD_LETTERS})),
)
#: Those of them that have a model in silver.
SILVER_TOPICS = tuple(topic for topic in EVENT_TOPICS if topic in _KNOWN["silver_audit"])

__all__ = ["DEAD_LETTERS", "EVENT_TOPICS", "SILVER_TOPICS", "SIMULATED_TOPICS", "Column", "Contract", "all_ids", "load"]
