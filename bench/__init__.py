"""Measurements beside stock Celery and beside the bare drivers: ``make bench``, or ``python -m bench --help``.

An engine is one small file in `bench.engines`: its server, its bare driver, the URL of stock Celery's backend on it. A
part is one file in `bench.parts`. Contenders take turns, round by round, so that a machine that gets slower or faster
meanwhile does so for all of them.
"""
