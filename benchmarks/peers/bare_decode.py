"""The physical limit: every line of a file decoded by msgspec, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec


def main(path: Path) -> int:
    """Decode all lines; return how many there were."""
    decode = msgspec.json.Decoder(dict[str, str | int | float | bool | None]).decode
    count = 0
    with path.open("rb") as lines:
        for line in lines:
            decode(line)
            count += 1
    return count


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
