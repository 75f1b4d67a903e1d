"""The app of the bench's workers and producers, as the environment says."""

from __future__ import annotations

import os

from bench.apps import make_app

app = make_app(
    os.environ["BENCH_BROKER"],
    os.environ.get("BENCH_BACKEND") or None,
    ignore_result=bool(os.environ.get("BENCH_IGNORE_RESULT")),
)
