"""Processes: several of them on one store, and the two that a fork makes of one."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.store import Store
from rootcellar.testing import children
from rootcellar.testing.comparing import assert_same_records
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.conformance.chords import part
from rootcellar.testing.gaps import needs
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import records_of
from rootcellar.testing.strategies import deliveries, histories


class Processes(StoreTests):
    """What holds between processes."""

    @needs("shared")
    def test_ten_processes_set_up_at_once(self, store: Store, connections: Connections) -> None:
        """All succeed, and all write to the same place."""
        names = [f"task-{number}" for number in range(10)]
        counts = children.run_children(
            children.set_up, [(connections.url, connections.options, name) for name in names]
        )
        assert max(counts) == 10
        assert {record.id for record in store.find()} == set(names)

    @needs("shared")
    @budget(3)
    @given(data=st.data())
    def test_histories_from_several_processes(self, connections: Connections, data: st.DataObject) -> None:
        """Each process delivers all of them in an order of its own, batch by batch, at the same time."""
        connections.empty()
        changes = [
            change for task_id in "abcde" for change in data.draw(histories(task_id, expiring=connections.expiring))
        ]
        arguments = [(connections.url, connections.options, data.draw(deliveries(changes))) for _ in range(3)]
        children.run_children(children.apply_batches, arguments)
        model = records_of(*changes)
        assert_same_records(connections[0].fetch(model), list(model.values()))

    @needs("shared")
    def test_a_chord_joined_from_several_processes(self, store: Store, connections: Connections, group_id: str) -> None:
        """Every part from every process: one claim."""
        parts = [part(group_id, position, position) for position in range(20)]
        store.chord_resize(group_id, size=len(parts))
        arguments = [
            (connections.url, connections.options, parts[lane:] + parts[:lane], f"p{lane}") for lane in range(3)
        ]
        assert sum(children.run_children(children.join_parts, arguments)) == 1
        assert store.chord_parts(group_id) == list(range(20))

    @needs("shared")
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_store_survives_a_fork(self, store: Store, connections: Connections) -> None:
        """Used before it, in the child, and in the parent after it: each has connections of its own."""
        arguments = [(connections.url, connections.options)]
        assert children.run_children(children.use_across_a_fork, arguments) == [0]
        names = {"parent-before", "child", "child-again", "parent-after"}
        assert {record.id for record in store.find()} == names
