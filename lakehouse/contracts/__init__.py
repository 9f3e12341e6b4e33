"""Data contracts; see `lakehouse.contracts.model`."""

from lakehouse.contracts.model import Column, Contract, all_ids, load

#: Topics that producers write, in the order in which everything reports them; the other topics are derived from them.
EVENT_TOPICS = ("plays", "ad_impressions", "likes")

__all__ = ["EVENT_TOPICS", "Column", "Contract", "all_ids", "load"]
