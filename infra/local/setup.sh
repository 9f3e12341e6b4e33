#!/bin/sh
# Finds a Python that really runs (a shim may not) and is 3.11 or 3.12, then hands over to setup.py.
here=$(cd "$(dirname "$0")" && pwd)
for candidate in python3 python3.12 python3.11 /usr/bin/python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
        exec "$candidate" "$here/setup.py" "$@"
    fi
done
echo "error: no Python 3.11 or 3.12 was found." >&2
echo "  try: apt-get install python3 (Debian 12 and Ubuntu 24.04 have the right one), then run this again" >&2
exit 1
