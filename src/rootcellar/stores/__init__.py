"""The engines: one module or folder each; what the SQL ones share is in `_sql`."""
