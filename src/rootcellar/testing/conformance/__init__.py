"""The topics of the suite, and all of them together."""

from rootcellar.testing.conformance.aggregates import Aggregates
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.conformance.chords import Chords
from rootcellar.testing.conformance.concurrency import Concurrency
from rootcellar.testing.conformance.documents import Documents
from rootcellar.testing.conformance.errors import Errors
from rootcellar.testing.conformance.expiry import Expiry
from rootcellar.testing.conformance.groups import Groups
from rootcellar.testing.conformance.metadata import Metadata
from rootcellar.testing.conformance.paging import Paging
from rootcellar.testing.conformance.processes import Processes
from rootcellar.testing.conformance.queries import Queries
from rootcellar.testing.conformance.reading import Reading
from rootcellar.testing.conformance.setup import Setup
from rootcellar.testing.conformance.waiting import Waiting
from rootcellar.testing.conformance.writing import Writing

__all__ = ["Connections", "StoreConformance", "StoreTests"]


class StoreConformance(
    Setup,
    Writing,
    Metadata,
    Reading,
    Documents,
    Queries,
    Paging,
    Aggregates,
    Groups,
    Chords,
    Expiry,
    Waiting,
    Errors,
    Concurrency,
    Processes,
):
    """All that a store promises."""
