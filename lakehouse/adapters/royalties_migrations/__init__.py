"""Migrations of the schema `ledger`, applied in order by `wavehouse royalties migrate`."""
