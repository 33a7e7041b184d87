"""Assets, the third door: what is made from what, partition by partition, kept and made again.

An asset is a function whose parameters name the assets that it is made from. An `AssetStore`
makes it in a run of the engine, keeps its data with an IO manager and a record of how they were
made, and makes it again only when something that it was made from has changed.
"""

from stageflow.assets.backfill import BackfillFailure, BackfillProgress, BackfillSummary
from stageflow.assets.batching import Batching
from stageflow.assets.context import AssetCall, AssetContext, PartitionValues
from stageflow.assets.date_partitions import DatePartitions, DatetimePartitions
from stageflow.assets.declaration import Asset, AssetBody, AssetOutput, Dep, asset
from stageflow.assets.drawing import AssetDrawing, AssetTargetError
from stageflow.assets.errors import (
    AssetDefinitionError,
    AssetFailedError,
    AssetNotReadyError,
    AssetRecordsError,
    AssetResourceError,
    AssetRunError,
    AssetRunningError,
    BackfillFailedError,
    ClaimLostError,
    PartitionsError,
    UnknownAssetError,
    UnknownPartitionError,
    UpstreamNotReadyError,
)
from stageflow.assets.events import ASSET_EVENTS
from stageflow.assets.fanout_errors import (
    BatchResultError,
    BranchTimeoutError,
    GatherError,
    ItemFailedError,
    ItemTimeoutError,
    ParallelFailedError,
    RouteError,
    ScatterFailedError,
    UpstreamFailedError,
)
from stageflow.assets.graph import Assets, Lineage
from stageflow.assets.item_calls import ItemFailure
from stageflow.assets.mapping import (
    AllPartitions,
    DimensionPartition,
    LastPartitions,
    MappedPartitions,
    PartitionMapping,
    SamePartition,
)
from stageflow.assets.parallel_asset import Branch, parallel
from stageflow.assets.partitions import Partitions, PartitionSlice, StaticPartitions
from stageflow.assets.product_partitions import MultiPartitions, TuplePartitions
from stageflow.assets.records import AssetRecord
from stageflow.assets.routing import Route, route
from stageflow.assets.scatter_asset import scatter
from stageflow.assets.store import AssetStore, Materialization
from stageflow.assets.survey import AssetStatus

__all__ = (
    "ASSET_EVENTS",
    "AllPartitions",
    "Asset",
    "AssetBody",
    "AssetCall",
    "AssetContext",
    "AssetDefinitionError",
    "AssetDrawing",
    "AssetFailedError",
    "AssetNotReadyError",
    "AssetOutput",
    "AssetRecord",
    "AssetRecordsError",
    "AssetResourceError",
    "AssetRunError",
    "AssetRunningError",
    "AssetStatus",
    "AssetStore",
    "AssetTargetError",
    "Assets",
    "BackfillFailedError",
    "BackfillFailure",
    "BackfillProgress",
    "BackfillSummary",
    "BatchResultError",
    "Batching",
    "Branch",
    "BranchTimeoutError",
    "ClaimLostError",
    "DatePartitions",
    "DatetimePartitions",
    "Dep",
    "DimensionPartition",
    "GatherError",
    "ItemFailedError",
    "ItemFailure",
    "ItemTimeoutError",
    "LastPartitions",
    "Lineage",
    "MappedPartitions",
    "Materialization",
    "MultiPartitions",
    "ParallelFailedError",
    "PartitionMapping",
    "PartitionSlice",
    "PartitionValues",
    "Partitions",
    "PartitionsError",
    "Route",
    "RouteError",
    "SamePartition",
    "ScatterFailedError",
    "StaticPartitions",
    "TuplePartitions",
    "UnknownAssetError",
    "UnknownPartitionError",
    "UpstreamFailedError",
    "UpstreamNotReadyError",
    "asset",
    "parallel",
    "route",
    "scatter",
)
