"""Execute the golden log and compare its roots with those in the repository.

python -m scripts.golden            exits with 1 where they differ
python -m scripts.golden --write    writes them, for a change of the rules that is meant
"""

import argparse
import sys

from tests.support.golden import FILE, play


def main() -> int:
    """Play it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="take these for the right ones")
    wanted = parser.parse_args()
    found = play().text
    sys.stdout.write(found)
    if wanted.write:
        FILE.write_text(found)
        return 0
    return 0 if found == FILE.read_text() else 1


if __name__ == "__main__":
    raise SystemExit(main())
