"""Wavehouse: audio and plays in; royalties, Wrapped and dashboards out, every figure traceable to its plays."""
