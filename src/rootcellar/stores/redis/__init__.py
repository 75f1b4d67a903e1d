"""Records in Redis 6.2 or newer, Valkey, or what speaks their protocol with Lua, by redis-py.

- `address`: the URL, and stock Celery's settings, as connection parameters;
- `servers`: one server, a master found by sentinels, or a cluster;
- `layout`: the names of the keys;
- `registers`: a record as the text that is stored, and back;
- `terms`: what a record is found by;
- `scripts`: the merge, and all else that must happen at once, in Lua;
- `plans`, `walks`: from a query to the sets that answer it, and through them in order;
- `totals`: aggregates, added up on the way;
- `push`: finished tasks told of, and heard, by pub/sub;
- `faults`: errors as ours;
- `store`: all of it together.
"""

from __future__ import annotations

from rootcellar.errors import MissingDriver

try:
    import redis as _redis  # noqa: F401 - only to see whether it is there
except ImportError as error:
    raise MissingDriver("Redis", "redis", "redis") from error

from rootcellar.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
