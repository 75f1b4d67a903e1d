"""The command: ``python -m bench``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.engines import ENGINES
from bench.scale import FULL, QUICK

PARTS = ("states", "fetch", "waiting", "worker", "get", "group", "chord", "queries", "cleanup", "bytes")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure, beside stock Celery and the bare drivers."
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that everything works, measures nothing"
    )
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="this one only (may be given again)")
    parser.add_argument("--only", metavar="PARTS", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the page there, such as docs/benchmarks.md")
    options = parser.parse_args()
    options.parts = options.only.split(",")
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def main() -> int:
    """Measure; 1 when a bar was not met."""
    options = arguments()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rootcellar-bench-") as folder:
        # Spools and whatever else has a place of its own stay out of the user's folders.
        os.environ["XDG_STATE_HOME"] = folder
        from bench.run import Run

        engines = [ENGINES[name]() for name in options.engine or ENGINES]
        scale = QUICK if options.quick else FULL
        report = Run(set(options.parts), scale, Path(folder), quick=options.quick).measure(engines)
    print(f"\n{report.summary()}\n\n{(time.monotonic() - start) / 60:.1f} minutes; {report.missed} bars not met")
    if options.write:
        options.write.write_text(report.page(), encoding="utf-8")
    return 1 if report.missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
