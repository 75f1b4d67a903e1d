"""Waiting for tasks to finish: one hub per process for all who wait."""
