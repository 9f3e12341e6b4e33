"""Wavehouse: plays and audio in; royalties, Wrapped, dashboards and features out, every figure traceable to its plays."""
