"""The example of an agent: it looks up, is corrected, is supervised, and what it did is undone."""

from __future__ import annotations

import pytest

from agent_tools.__main__ import converse
from agent_tools.shop import Shop

pytestmark = pytest.mark.anyio


async def test_the_agent_works_as_its_page_says(capsys):
    shop = Shop()
    answer = await converse(shop)
    assert [action["status"] for action in answer["actions"]] == [
        "completed",
        "invalid",
        "completed",
    ]
    assert answer["answer"] == "We have paid back what we could."
    assert answer["refunded"] == {"A-17": 50.0}
    assert answer["undone"] is True
    assert shop.refunds == {"A-17": 0.0}
    said = capsys.readouterr().out
    assert "approval.decided     refund_order   the supervisor" in said
    assert "4000-1234" not in said
    told = [message for message in answer["messages"] if message["role"] == "tool"]
    assert [message["tool_call_id"] for message in told] == ["call_1", "call_2", "call_3"]
