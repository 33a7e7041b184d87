"""The events of assets, each with its schema."""

from __future__ import annotations

from typing import Final

from stageflow.events.catalogue import EventCatalogue, EventField, EventSchema

__all__ = ("ASSET_EVENTS",)

_BASE: Final = (
    EventField("pipeline_run_id", "id", "the run; null if none was needed", nullable=True),
    EventField("request_id", "id", "the request that caused it", nullable=True),
    EventField("session_id", "id", "the session it belongs to", nullable=True),
    EventField("user_id", "id", "the user on whose behalf it runs", nullable=True),
    EventField("org_id", "id", "the user's organisation", nullable=True),
    EventField("interaction_id", "id", "the interaction it is part of", nullable=True),
    EventField("pipeline_name", "text", "what the assets are called together"),
    EventField("topology", "text", "the topology, if the caller named one", nullable=True),
    EventField("execution_mode", "text", "the mode the run was started in", nullable=True),
    EventField("service", "text", "the service on whose behalf it runs"),
    EventField("timestamp", "timestamp", "when the event happened"),
    EventField("asset", "text", "the asset"),
)
_ONE: Final = (
    *_BASE,
    EventField("partition", "text", "its partition; null if it has none", nullable=True),
    EventField("partition_key", "text", "the key of the partition in stores"),
)
_BARRIER: Final = EventField("barrier_id", "text", "the barrier in the coordinator")
_ITEMS: Final = (
    EventField("total", "integer", "how many items are known"),
    EventField("completed", "integer", "how many of them have a result"),
    EventField("failed", "integer", "how many of them failed"),
)
_COUNTS: Final = (
    EventField("total", "integer", "how many partitions were asked for", nullable=True),
    EventField("done", "integer", "how many of them are decided"),
    EventField("materialized", "integer", "how many were materialized"),
    EventField("skipped", "integer", "how many were fresh already"),
    EventField("failed", "integer", "how many failed"),
)

ASSET_EVENTS: Final = EventCatalogue(
    (
        EventSchema(
            "asset.materialized",
            "A partition of an asset was made: its data are stored, then its record was written.",
            (
                *_ONE,
                EventField("asset_version", "text", "the asset's version", nullable=True),
                EventField("data_version", "text", "names the state of the data"),
                EventField("io_manager", "text", "where the data lie"),
                EventField("duration_ms", "number", "how long it took, in milliseconds"),
                EventField("metadata", "object", "what the asset's function said of it"),
            ),
        ),
        EventSchema(
            "asset.skipped",
            "A partition of an asset was not made.",
            (
                *_ONE,
                EventField(
                    "reason",
                    "text",
                    "it was fresh, another run made it meanwhile, or its function or its router"
                    " chose so",
                    one_of=("fresh", "made_by_another_run", "skipped"),
                ),
            ),
        ),
        EventSchema(
            "asset.failed",
            "A partition of an asset could not be made; what was there before still is.",
            (
                *_ONE,
                EventField("error", "text", "what went wrong", nullable=True),
                EventField("error_code", "text", "the stable code of the error", nullable=True),
            ),
        ),
        EventSchema(
            "asset.waiting",
            "Another run is at a partition, or at what it is made from; this one waits for it.",
            (*_ONE, EventField("other_run_id", "text", "the other run")),
        ),
        EventSchema(
            "asset.invalidated",
            "A partition of an asset was forgotten: its record first, then its data.",
            (*_ONE, EventField("was_there", "boolean", "whether there was anything")),
        ),
        EventSchema(
            "asset.scatter_started",
            "The items of a scatter are about to be worked on.",
            (
                *_ONE,
                _BARRIER,
                EventField("resumed", "boolean", "whether another run had begun with it"),
            ),
        ),
        EventSchema(
            "asset.scatter_progress",
            "How far a scatter is; told at most once a second, and in the end.",
            (*_ONE, _BARRIER, *_ITEMS),
        ),
        EventSchema(
            "asset.scatter_completed",
            "All items of a scatter have been worked on, or no more will be.",
            (
                *_ONE,
                _BARRIER,
                *_ITEMS,
                EventField(
                    "status",
                    "text",
                    "whether the results were gathered",
                    one_of=("complete", "failed"),
                ),
                EventField("duplicates", "integer", "how many items there were once already"),
                EventField("duration_ms", "number", "how long it took, in milliseconds"),
            ),
        ),
        EventSchema(
            "asset.branch_ended",
            "How a branch of a parallel asset ended, told as the branches are joined.",
            (
                *_ONE,
                EventField("execution_id", "text", "the execution in the coordinator"),
                EventField("branch", "text", "the branch"),
                EventField("status", "text", "how it ended", one_of=("ok", "failed", "skipped")),
                EventField("required", "boolean", "whether the whole fails if it does"),
                EventField("why", "text", "why it failed or was skipped", nullable=True),
            ),
        ),
        EventSchema(
            "asset.routed",
            "A router has chosen a branch, or none.",
            (
                *_ONE,
                EventField("decision_id", "text", "the decision in the coordinator"),
                EventField("route", "text", "the key of the branch", nullable=True),
                EventField("reason", "text", "why, if the router says so", nullable=True),
                EventField("replayed", "boolean", "whether it was decided before, and recorded"),
            ),
        ),
        EventSchema(
            "asset.backfill_started",
            "Many partitions of an asset are about to be made.",
            (*_BASE, *_COUNTS),
        ),
        EventSchema(
            "asset.backfill_progress",
            "A batch of the partitions is decided.",
            (
                *_BASE,
                *_COUNTS,
                EventField("elapsed_ms", "number", "time since it began"),
                EventField("remaining_ms", "number", "an estimate of what is left", nullable=True),
            ),
        ),
        EventSchema(
            "asset.backfill_completed",
            "A backfill is over; also if partitions failed.",
            (*_BASE, *_COUNTS, EventField("duration_ms", "number", "how long it took")),
        ),
    )
)
"""The events of assets."""
