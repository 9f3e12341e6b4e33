"""Migrations of the schema `scrobble`, applied in order when tokens are made or listed."""
