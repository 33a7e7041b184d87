"""The service of approvals: one request per action, the first decision, whoever makes it."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import CodecError
from stageflow.testing import TestClock
from stageflow.testing.conformance import all_at_once
from stageflow.tools import (
    ApprovalDecision,
    ApprovalMismatchError,
    ApprovalNotFoundError,
    ApprovalService,
    ApprovalSettledError,
    ApprovalStatus,
    MemoryApprovalLog,
    SharedApprovalLog,
    ToolApprovalTimeoutError,
    clear_approval_service,
    get_approval_service,
    set_approval_service,
)

pytestmark = pytest.mark.anyio
ACTION = UUID(int=1)
RUN = UUID(int=900)


@pytest.fixture
def clock():
    return TestClock(autojump=True)


@pytest.fixture(params=["alone", "memory", "sqlite"])
async def log(request, tmp_path):
    if request.param == "alone":
        yield None
    elif request.param == "memory":
        yield SharedApprovalLog(MemoryRunStore())
    else:
        path = tmp_path / "runs.sqlite3"
        async with SqliteRunStore(path, synchronous="normal") as store:
            yield SharedApprovalLog(store)


@pytest.fixture
def service(clock, log):
    return ApprovalService(log=log, clock=clock)


async def ask(service, action_id=ACTION, **more):
    return await service.request_approval(action_id, "send", RUN, "Send it?", **more)


async def test_a_request_goes_from_pending_to_decided(service, clock):
    request = await ask(service, payload={"n": 1})
    assert (request.action_id, request.tool_name, request.pipeline_run_id) == (ACTION, "send", RUN)
    assert (request.status, request.decided_by) == (ApprovalStatus.PENDING, None)
    assert await service.get_pending_requests() == [request]
    assert await service.get_pending_requests(RUN) == [request]
    assert await service.get_pending_requests(uuid4()) == []
    clock.tick(3)
    decision = await service.record_decision(request.id, True, "ada", "fine")
    assert decision == ApprovalDecision(request.id, True, "ada", "fine")
    assert await service.await_decision(request.id) == decision
    known = await service.get_request(request.id)
    assert (known.status, known.decided_by, known.reason) == ("approved", "ada", "fine")
    assert known.decided_at == clock.now()
    assert await service.get_pending_requests() == []
    assert known.to_dict() == {
        "id": str(request.id),
        "action_id": str(ACTION),
        "tool_name": "send",
        "pipeline_run_id": str(RUN),
        "approval_message": "Send it?",
        "payload": {"n": 1},
        "created_at": request.created_at.isoformat(),
        "expires_at": None,
        "status": "approved",
        "decided_at": clock.now().isoformat(),
        "decided_by": "ada",
        "reason": "fine",
        "edited": False,
        "begun_at": None,
        "finished_at": None,
    }


async def test_who_waits_is_woken_by_the_same_service_without_any_time_passing(service):
    request = await ask(service)
    decisions = []

    async def wait():
        decisions.append(await service.await_decision(request.id, 50))

    standing = TestClock()
    service._clock = standing  # nothing that waits for time goes on
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(wait)
        while standing.sleeping < 2:
            await anyio.lowlevel.checkpoint()
        await service.record_decision(request.id, False, "bob")
    assert [each.decided_by for each in decisions] == ["bob", "bob"]
    assert service._waiting == {}


def test_who_waits_is_woken_from_the_event_loop_of_another_thread(anyio_backend_name):
    service = ApprovalService(clock=TestClock())  # its time never passes
    asked, found = [], []

    async def wait():
        request = await ask(service)
        asked.append(request)
        found.append(await service.await_decision(request.id, 50))

    async def decide():
        while not (asked and service._waiting):  # noqa: ASYNC110 - no event crosses loops
            await anyio.sleep(0.001)
        await service.record_decision(asked[0].id, True, "ada")

    thread = Thread(target=anyio.run, args=(wait,), kwargs={"backend": anyio_backend_name})
    thread.start()
    anyio.run(decide, backend=anyio_backend_name)
    thread.join(10)
    assert [each.decided_by for each in found] == ["ada"]


async def test_who_waits_elsewhere_finds_the_decision_by_looking(clock, log):
    here = ApprovalService(log=log or MemoryApprovalLog(), clock=clock, poll_seconds=2)
    there = ApprovalService(log=here.log, clock=clock)
    request = await ask(here)

    async def decide():
        await clock.sleep(5)
        await there.record_decision(request.id, True, "ada")

    async with anyio.create_task_group() as group:
        group.start_soon(decide)
        decision = await here.await_decision(request.id, 50)
    assert decision.decided_by == "ada"
    assert 5 < clock.monotonic() < 50


async def test_nobody_decides_in_time(service, clock):
    request = await ask(service)
    with pytest.raises(ToolApprovalTimeoutError) as caught:
        await service.await_decision(request.id, 5)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.retryable is False
    assert clock.monotonic() == 5
    assert (await service.get_request(request.id)).status == "expired"
    with pytest.raises(ApprovalSettledError, match="expired already"):
        await service.record_decision(request.id, True, "ada")
    with pytest.raises(ToolApprovalTimeoutError):
        await service.await_decision(request.id, 5)
    assert clock.monotonic() == 5


async def test_the_default_time_is_the_services(clock):
    service = ApprovalService(7.0, clock=clock)
    with pytest.raises(ToolApprovalTimeoutError):
        await service.await_decision((await ask(service)).id)
    assert clock.monotonic() == 7


async def test_a_request_counts_no_longer_than_it_says_whoever_waits(service, clock):
    request = await ask(service, timeout_seconds=10)
    clock.tick(4)
    with pytest.raises(ToolApprovalTimeoutError):
        await service.await_decision(request.id, 100)
    assert clock.monotonic() == 10


async def test_v03_a_decision_that_comes_too_late_counts_for_nothing(service, clock):
    request = await ask(service, timeout_seconds=10)
    clock.tick(10)
    assert await service.get_pending_requests() == []
    with pytest.raises(ApprovalSettledError):
        await service.record_decision(request.id, True, "ada")
    assert (await service.get_request(request.id)).status == "expired"


async def test_the_first_decision_stands_and_the_others_are_told(service):
    request = await ask(service)
    await service.record_decision(request.id, False, "bob", "too dear")
    await service.record_decision(request.id, False, "bob", "too dear")
    for other in ((True, "ada", None), (False, "ada", None), (True, "bob", "too dear")):
        with pytest.raises(ApprovalSettledError, match="denied by bob already") as caught:
            await service.record_decision(request.id, *other)
        assert caught.value.request.decided_by == "bob"
    assert (await service.await_decision(request.id)).granted is False


async def test_of_many_who_decide_at_once_one_does(clock, log):
    log = log or MemoryApprovalLog()
    services = [ApprovalService(log=log, clock=clock) for _ in range(10)]
    request = await ask(services[0])
    outcomes = await all_at_once(
        [
            lambda n=n, each=each: each.record_decision(request.id, n % 2 == 0, f"p{n}")
            for n, each in enumerate(services)
        ]
    )
    (winner,) = [each for each in outcomes if isinstance(each, ApprovalDecision)]
    losers = [each for each in outcomes if each is not winner]
    assert all(isinstance(each, ApprovalSettledError) for each in losers)
    assert {each.request.decided_by for each in losers} == {winner.decided_by}
    assert await services[5].await_decision(request.id) == winner


async def test_an_action_has_one_request_however_often_it_is_asked_for(service):
    first = await ask(service, payload={"n": 1, "tags": ("a",)})
    assert await ask(service, payload={"n": 1, "tags": ["a"]}) == first
    await service.record_decision(first.id, True, "ada")
    again = await ask(service, payload={"n": 1, "tags": ["a"]})
    assert (again.id, again.status) == (first.id, "approved")


async def test_v03_a_decision_about_one_thing_does_not_serve_another(service):
    first = await ask(service, payload={"amount": 5})
    await service.record_decision(first.id, True, "ada")
    with pytest.raises(ApprovalMismatchError) as caught:
        await ask(service, payload={"amount": 5_000})
    assert (caught.value.request_id, caught.value.action_id) == (first.id, ACTION)
    with pytest.raises(ApprovalMismatchError):
        await service.request_approval(ACTION, "delete", RUN, payload={"amount": 5})


async def test_a_cancelled_request_is_not_granted(service):
    request = await ask(service)
    assert await service.cancel_request(request.id, "the customer has left") is True
    decision = await service.await_decision(request.id)
    assert (decision.granted, decision.reason) == (False, "the customer has left")
    assert await service.cancel_request(request.id) is False
    assert await service.cancel_request(uuid4()) is False
    with pytest.raises(ApprovalSettledError):
        await service.record_decision(request.id, False)


async def test_whoever_waits_is_told_that_a_request_is_cancelled(service):
    request = await ask(service)
    found = []

    async def wait():
        found.append(await service.await_decision(request.id, 50))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        await service.cancel_request(request.id)
    assert [each.granted for each in found] == [False]


async def test_what_is_not_there_is_told(service):
    for call in (
        lambda: service.await_decision(ACTION),
        lambda: service.record_decision(ACTION, True),
        lambda: service.begin_execution(ACTION),
    ):
        with pytest.raises(ApprovalNotFoundError):
            await call()
    assert await service.get_request(ACTION) is None
    assert await service.cleanup(ACTION) is False


async def test_requests_are_cleaned_up(service, clock):
    old, young, pending = [await ask(service, UUID(int=n)) for n in range(3)]
    await service.record_decision(old.id, True)
    clock.tick(100)
    await service.record_decision(young.id, False)
    assert await service.cleanup_settled(timedelta(seconds=50)) == 1
    found = [await service.get_request(each.id) for each in (old, young, pending)]
    assert [each is None for each in found] == [True, False, False]
    assert await service.cleanup(young.id) is True
    assert await service.get_pending_requests() == [pending]


async def test_pending_requests_come_oldest_first(service, clock):
    asked = []
    for number in (5, 3, 9, 1):
        asked.append(await ask(service, UUID(int=number)))
        clock.tick(1)
    assert await service.get_pending_requests() == asked


async def test_what_is_shown_is_data_whatever_it_was(service):
    circular = []
    circular.append(circular)
    request = await ask(service, payload={"at": {1, 2}, "what": object, 3: circular})
    assert (await service.get_request(request.id)).payload == request.payload
    assert request.payload["at"] == [1, 2]
    assert request.payload["what"] == "<class 'object'>"


async def test_an_edit_that_cannot_be_stored_decides_nothing(service):
    request = await ask(service)
    with pytest.raises(CodecError):
        await service.record_decision(request.id, True, payload={"x": object()})
    assert (await service.get_request(request.id)).status == "pending"


async def test_an_approval_is_used_once(service):
    request = await ask(service)
    await service.record_decision(request.id, True)
    outcomes = await all_at_once([lambda: service.begin_execution(request.id)] * 20)
    winners = [name for name, known in outcomes if known.execution.id == name]
    assert len(winners) == 1


async def test_in_memory_only_so_much_is_remembered(clock):
    service = ApprovalService(log=MemoryApprovalLog(max_settled=2), clock=clock)
    requests = [await ask(service, UUID(int=n)) for n in range(5)]
    for request in requests[:4]:
        await service.record_decision(request.id, False)
    found = [await service.get_request(each.id) for each in requests]
    assert [each is None for each in found] == [True, True, False, False, False]


async def test_what_is_approved_is_remembered_until_it_has_run(clock):
    service = ApprovalService(log=MemoryApprovalLog(max_settled=0), clock=clock)
    request = await ask(service)
    await service.record_decision(request.id, True)
    execution, _ = await service.begin_execution(request.id)
    assert await service.get_request(request.id) is not None
    await service.finish_execution(request.id, execution, None)
    assert await service.get_request(request.id) is None


async def test_those_who_name_none_share_one_service():
    clear_approval_service()
    shared = get_approval_service()
    assert get_approval_service() is shared
    mine = ApprovalService()
    set_approval_service(mine)
    assert get_approval_service() is mine
    clear_approval_service()
    assert get_approval_service() not in (mine, shared)
    clear_approval_service()
