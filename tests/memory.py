"""How much memory a script needs, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

#: Linux hands `ru_maxrss` on to what a process starts, so that a child of a large pytest would be large; the peak in
#: /proc begins with the program.
_PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def measured(script: str, *arguments: object, **environment: str) -> tuple[list[int], int]:
    """The numbers that the Python `script` prints, and the most memory [KiB] that its process took."""
    done = subprocess.run(
        [sys.executable, "-c", script + _PEAK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    *numbers, peak = map(int, done.stdout.split())
    return numbers, peak
