"""Data contracts; see `lakehouse.contracts.model`."""

from lakehouse.contracts.model import Column, Contract, all_ids, load

__all__ = ["Column", "Contract", "all_ids", "load"]
