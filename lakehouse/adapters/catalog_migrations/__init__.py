"""Migrations of the schema `catalog`, applied in order by `wavehouse catalog migrate`."""
