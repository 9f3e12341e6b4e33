"""Benchmarks: each runs ours and a baseline interleaved in one run and compares CPU seconds as a ratio.

One module a benchmark, with `run(...) -> dict` for `wavehouse bench NAME`; what all share is in `benchmarks.kit`.
"""
