"""Records in MySQL (8.0.13 and later) or MariaDB (10.6 and later), over PyMySQL."""

from rootcellar.stores.mysql.store import MySQLStore

__all__ = ["MySQLStore"]
