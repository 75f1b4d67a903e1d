"""The half that all SQL stores share.

- `columns`: the layout of the tables, as data;
- `names`: what the tables and indexes are called, safely quoted;
- `dialect`: the few fragments in which engines differ when they filter and sort;
- `conditions`, `statements`: queries as SQL;
- `merging`: the join of two records as the SET clause of an upsert;
- `rows`: records as rows and back;
- `queries`: SQL files whose statements have names;
- `slices`: clean-up beside writers;
- `schema`: migrations, what a DBA would run, and drift;
- `store`: the hooks that follow from all of these.
"""
