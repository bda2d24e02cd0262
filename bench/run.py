"""Run every benchmark, one after the other, on an otherwise quiet machine: about half an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = ("validate", "ingest", "inference", "features", "flags", "snapshots", "query", "live", "memory")


def main() -> int:
    wanted = sys.argv[1:] or BENCHMARKS
    codes = [subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode for name in wanted]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
