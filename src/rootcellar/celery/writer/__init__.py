"""The writer: between the backend and its store, so that writing is cheap and an outage loses nothing."""

from rootcellar.celery.writer.writer import Writer

__all__ = ["Writer"]
