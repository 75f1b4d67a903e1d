"""The store contract: what every engine promises, and the door that finds the engine of a URL."""

from rootcellar.store.base import Store
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.registry import open_url, register_scheme
from rootcellar.store.watch import Watcher

__all__ = ["Capabilities", "ChordPart", "ChordState", "Store", "Watcher", "open_url", "register_scheme"]
