"""asyncio while the network to the store is cut: who waits is told in the end, who comes meanwhile is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

import rootcellar
from rootcellar.errors import StoreUnavailable
from rootcellar.record import Change
from tests.aio.conftest import MakeApp, waited_for
from tests.aio.test_wait import begun
from tests.servers.proxy import FaultProxy

pytestmark = [pytest.mark.fault, pytest.mark.xdist_group("faults")]
MANY = 200


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("postgresql", marks=[pytest.mark.server, pytest.mark.store("postgresql")]),
        pytest.param("redis", marks=[pytest.mark.server, pytest.mark.store("redis")]),
    ],
)
async def test_a_cut_network(
    request: pytest.FixtureRequest,
    engine: str,
    make_app: MakeApp,
    fault_proxy: Callable[[str], FaultProxy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = request.getfixturevalue(f"{engine}_url")
    proxy = fault_proxy(url)
    app = make_app(f"rootcellar+{proxy.url}")
    async with rootcellar.open(url).aio as direct:
        await direct.setup()
        ids = [f"t{number}" for number in range(MANY)]
        waiting = [asyncio.create_task(rootcellar.wait(task_id, app=app, timeout=120)) for task_id in ids]
        await begun(app.backend, MANY)
        tickets = [ticket for task_id in ids for ticket in app.backend.result_consumer.waiters.tickets(task_id)]
        while not all(ticket.answered for ticket in tickets):
            await asyncio.sleep(0.001)

        proxy.refuse()
        proxy.cut()
        while "interrupted" not in caplog.text:
            await asyncio.sleep(0.001)
        now = datetime.now(UTC)
        await direct.apply([Change(id=task_id, at=now, state="SUCCESS", result=task_id) for task_id in ids])
        with pytest.raises(StoreUnavailable):
            await rootcellar.wait("another", app=app, timeout=120)
        assert not any(task.done() for task in waiting)

        proxy.accept()
        assert await asyncio.gather(*waiting) == ids
    assert waited_for(app.backend) == (0, 0)
