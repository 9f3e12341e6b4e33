"""What a child process needs is measured whatever its parent is."""

from __future__ import annotations

from tests.memory import measured


def test_the_peak_of_a_script_is_its_own() -> None:
    block = b"x" * (200 << 20)
    numbers, small = measured("print(7)")
    assert (numbers, small < 100 << 10) == ([7], True)
    _, large = measured("block = b'x' * (200 << 20)")
    assert 0.9 * (len(block) >> 10) < large - small < 1.1 * (len(block) >> 10)
