"""Records in MongoDB 6.0 or newer, by PyMongo.

- `address`: the URL, and Celery's settings for MongoDB, as the driver's parameters;
- `client`: the client, and the collections reached through it;
- `documents`: records as documents of native types, and back;
- `merging`: what joins a change into its document: an insert, a plain form, a whole one;
- `commands`, `writing`: the messages to the server, and which of the forms is tried when;
- `conditions`, `queries`: the query tree as filters and pipelines;
- `layout`: indexes, set-up and drift;
- `members`: groups and chords;
- `large`: values too large for a document;
- `push`: finished tasks heard of through a change stream;
- `faults`: PyMongo's errors as ours;
- `store`: all of it together.
"""

from __future__ import annotations

from rootcellar.errors import MissingDriver

try:
    import pymongo as _pymongo  # noqa: F401 - only to see whether it is there
except ImportError as error:
    raise MissingDriver("MongoDB", "pymongo", "mongodb") from error

from rootcellar.stores.mongodb.store import MongoDBStore

__all__ = ["MongoDBStore"]
