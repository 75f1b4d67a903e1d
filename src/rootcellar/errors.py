"""Every error rootcellar raises on purpose, in one tree.

::

    RootcellarError
    ├── InvalidInput              the caller gave something that cannot be used (also a ValueError)
    │   ├── CodecError            a value that cannot be stored, or a stored value that cannot be read
    │   ├── QueryError            a query, field, operator or cursor that means nothing
    │   ├── SettingsError         a setting that is unknown or of the wrong type
    │   └── StoreURLError         a store URL that names no known store or cannot be parsed
    ├── MissingDriver             the engine's Python driver is not installed (also an ImportError)
    ├── NotSupported              the engine cannot do this; the message names the alternative
    └── StoreError                something went wrong between us and the store
        ├── StoreUnavailable      the store cannot be reached now; the same call may succeed later
        ├── SpoolUnavailable      the local spool is full, broken or not writable
        ├── AccessDenied          the store refused the credentials or the right to do this
        ├── SchemaError           the tables are missing, of another shape, or newer than this version
        ├── RecordUnreadable      one stored record cannot be read; the message names its id
        └── ValueTooLarge         one value exceeds what the engine can hold

A driver's own exception never leaves a store: it is translated in one place and chained as the cause.
Messages never contain a password or a token.
"""

from __future__ import annotations


class RootcellarError(Exception):
    """Root of the tree."""


class InvalidInput(RootcellarError, ValueError):
    """The caller gave something that cannot be used."""


class CodecError(InvalidInput):
    """A value cannot be stored, or a stored value cannot be read."""


class QueryError(InvalidInput):
    """A query, field, operator or cursor that means nothing."""


class SettingsError(InvalidInput):
    """A setting is unknown or of the wrong type."""


class StoreURLError(InvalidInput):
    """A store URL names no known store or cannot be parsed."""


class MissingDriver(RootcellarError, ImportError):
    """The Python driver of an engine is not installed."""

    def __init__(self, engine: str, package: str, extra: str) -> None:
        super().__init__(
            f"the {engine} store needs the package {package!r}; install it with: pip install 'rootcellar[{extra}]'"
        )
        self._facts = (engine, package, extra)

    def __reduce__(self) -> tuple[type[MissingDriver], tuple[str, str, str]]:
        return MissingDriver, self._facts


class NotSupported(RootcellarError):
    """The engine cannot do this; the message names the alternative."""


class StoreError(RootcellarError):
    """Something went wrong between us and the store."""


class StoreUnavailable(StoreError):
    """The store cannot be reached now; the same call may succeed later."""


class SpoolUnavailable(StoreError):
    """The local spool is full, broken or not writable."""


class AccessDenied(StoreError):
    """The store refused the credentials, or the right to do this."""


class SchemaError(StoreError):
    """The store's tables are missing, of another shape, or made by a newer version."""


class RecordUnreadable(StoreError):
    """One stored record cannot be read."""


class ValueTooLarge(StoreError):
    """One value exceeds what the engine can hold."""
