"""A shop with orders and a till, and the tools with which an agent works in it."""

from __future__ import annotations

from typing import Annotated, Any

import attrs

from stageflow.tools import ToolDefinition, ToolInput, ToolOutput, ToolRegistry, UndoMetadata, tool

__all__ = ("Shop",)

AMOUNT = {"type": "number", "exclusiveMinimum": 0}
REFUND = {
    "type": "object",
    "properties": {
        "order": {"type": "string", "description": "The order's number."},
        "amount": {**AMOUNT, "description": "How much, in euros."},
        "card": {"type": "string", "description": "The customer's card.", "writeOnly": True},
    },
    "required": ["order", "amount", "card"],
    "additionalProperties": False,
}


@attrs.define
class Shop:
    """Orders and what was paid back, in memory."""

    orders: dict[str, float] = attrs.field(factory=lambda: {"A-17": 120.0, "A-18": 9.5})
    refunds: dict[str, float] = attrs.field(factory=dict)

    def tools(self) -> list[Any]:
        """Return what an agent may do here."""

        @tool(registry=ToolRegistry())
        def find_order(order: Annotated[str, "The order's number, such as A-17."]) -> ToolOutput:
            """Look an order up: what it cost, and what was paid back."""
            if order not in self.orders:
                return ToolOutput.fail(f"There is no order {order}.")
            return ToolOutput.ok(
                {"total": self.orders[order], "refunded": self.refunds.get(order, 0.0)}
            )

        refund = ToolDefinition(
            "refund_order",
            "REFUND",
            self._refund,
            "Pay money back to the customer's card.",
            REFUND,
            requires_approval=True,
            approval_message="Pay this back?",
            undoable=True,
            undo_handler=self._take_back,
            timeout_seconds=5,
        )
        return [find_order, refund]

    async def _refund(self, given: ToolInput) -> ToolOutput:
        order, amount = given.payload["order"], given.payload["amount"]
        before = self.refunds.get(order, 0.0)
        if before + amount > self.orders.get(order, 0.0):
            return ToolOutput.fail("That is more than was paid.")
        self.refunds[order] = before + amount
        return ToolOutput.ok(
            {"refunded": self.refunds[order]},
            undo_metadata={
                "order": order,
                "before": before,
            },
        )

    async def _take_back(self, metadata: UndoMetadata) -> None:
        self.refunds[metadata.undo_data["order"]] = metadata.undo_data["before"]
