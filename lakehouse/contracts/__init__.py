"""Data contracts; see `lakehouse.contracts.model`."""

from lakehouse.contracts.model import Column, Contract, all_ids, load

#: Topics that the simulator fills; each has a truth ledger, and `wavehouse verify` compares it.
SIMULATED_TOPICS = ("plays", "ad_impressions", "likes")
#: Topics that producers write, in the order in which everything reports them; the other topics are derived from them.
EVENT_TOPICS = (*SIMULATED_TOPICS, "listens")

__all__ = ["EVENT_TOPICS", "SIMULATED_TOPICS", "Column", "Contract", "all_ids", "load"]
