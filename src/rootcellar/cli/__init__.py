"""The command line: ``rootcellar``, and the same as ``celery -A app rootcellar``.

Nothing here imports Celery, a driver or rich before a command needs it.
"""

from __future__ import annotations

from rootcellar.cli.application import celery_command, main

__all__ = ["celery_command", "main"]
