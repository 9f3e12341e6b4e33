"""Catalogue read API and live counts."""
