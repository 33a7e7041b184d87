"""IdempotencyInterceptor: work that was asked for twice is done once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final

import attrs

from stageflow._engine.call import Invocation, Proceed
from stageflow.codec import Codec, CodecError
from stageflow.contracts.logs import get_logger
from stageflow.errors import RunError
from stageflow.interceptors.base import BaseInterceptor, InterceptorDeniedError, output_of
from stageflow.interceptors.idempotency_store import (
    CachedStageResult,
    IdempotencyStore,
    InMemoryIdempotencyStore,
    KeyLocks,
)
from stageflow.stages import StageKind, StageOutput, StageStatus

__all__ = ("IdempotencyInterceptor", "IdempotencyParamMismatch")

_log = get_logger(__name__)

_KEY: Final = "idempotency_key"
# What a stage may read of the snapshot and what says for whom it works: not the ids and times
# that differ between two requests for the same thing.
_SNAPSHOT_KEYS: Final = (
    "user_id",
    "org_id",
    "input_text",
    "input_audio_duration_ms",
    "topology",
    "execution_mode",
    "conversation",
    "enrichments",
    "extensions",
    "metadata",
)
# What the executions around this one hold, the outermost first: a store and a key each.
_held: Final[ContextVar[tuple[_Hold, ...]]] = ContextVar("stageflow_idempotency_held", default=())


@attrs.define(eq=False)
class _Hold:
    """A key of a store that an execution holds, until it is over."""

    store: IdempotencyStore
    key: str
    is_over: bool = False


class IdempotencyParamMismatch(RunError):
    """A key was used again for another input.

    Attributes:
        stage: The stage.
        key: The caller's key.
    """

    code = "SF325"

    def __init__(self, stage: str, key: str) -> None:
        super().__init__(
            f"Stage {stage!r} was run before under the idempotency key {key!r:.200},"
            " with another input.",
            hint="Give each request a key of its own, and repeat a request with the same input.",
        )
        self.stage = stage
        self.key = key


class IdempotencyInterceptor(BaseInterceptor):
    """Runs a WORK stage once per key and gives repetitions what it gave then.

    The caller puts the key into the run's shared data, `data={"idempotency_key": …}`, or into
    its inputs under the same name; the former wins. It counts for the pipeline and the stage it
    is used in. Without a key the stage's input is the key: whoever asks again for the same gets
    the same, until it expires.

    The input is what the stage may read: its dependencies' data, the run's inputs, its config,
    the content of the snapshot and for which user and organisation it works; not the ids and
    times of the run. Repetitions that come while the stage runs wait for it. Only OK is kept: if
    the first fails or is cancelled, the next one tries. What is given back has the metadata
    `idempotent_replay`. When a guard sends a run back, that is not a repetition.

    A stage that starts its own pipeline for the same again would wait for itself: there, the
    inner run is denied.

    If the store fails before the stage runs, the stage fails. If it fails afterwards, that is
    logged as an error and the stage's output stands, since failing would have it done again.

    Args:
        store: Keeps results; one in this process unless given.
        ttl_seconds: How long a result counts; None for ever.
        validate_params: Whether another input under the same key is an error.
        params: Says what of an invocation is its input; as above unless given.
        codec: Encodes the input to be hashed; the default codec unless given.
    """

    name = "idempotency"
    priority = 200

    def __init__(
        self,
        *,
        store: IdempotencyStore | None = None,
        ttl_seconds: float | None = 86_400,
        validate_params: bool = True,
        params: Callable[[Invocation], Any] | None = None,
        codec: Codec | None = None,
    ) -> None:
        if ttl_seconds is not None and not ttl_seconds > 0:
            raise ValueError(f"ttl_seconds must be above 0, not {ttl_seconds!r}")
        self.store: IdempotencyStore = InMemoryIdempotencyStore() if store is None else store
        self.ttl_seconds = ttl_seconds
        self.validate_params = validate_params
        self._params = params or _input_of
        self._codec = codec
        self._lock: Callable[[str], AbstractAsyncContextManager[Any]] = (
            getattr(self.store, "lock", None) or KeyLocks().hold
        )
        self._unhashable: set[str] = set()

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say whether the stage has effects: whether it is WORK."""
        return kind is StageKind.WORK

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage, or give what it gave before.

        Raises:
            IdempotencyParamMismatch: If the key was used for another input.
            InterceptorDeniedError: If the key is blank, or held by a run around this one.
            UnencodableValueError: If there is a key, and the input or what the stage gave
                cannot be encoded.
        """
        stage = invocation.stage_name
        asked = self._asked_key(invocation)
        params_hash = self._hash(invocation, asked)
        if asked is None and params_hash is None:
            return await proceed()
        key = _full_key(invocation, asked, params_hash)
        self._refuse_waiting_for_oneself(key, stage)
        async with self._lock(key):
            entry = await self.store.get(key)
            if entry is not None and not _has_expired(entry, invocation):
                if (
                    self.validate_params
                    and params_hash
                    and entry.params_hash
                    not in (
                        None,
                        params_hash,
                    )
                ):
                    raise IdempotencyParamMismatch(stage, asked or params_hash)
                return _replayed(entry, stage)
            output = await self._holding(key, proceed)
            if output.status is StageStatus.OK:
                await self._keep(key, invocation, output, asked, params_hash)
            return output

    def _refuse_waiting_for_oneself(self, key: str, stage: str) -> None:
        for hold in _held.get():
            if hold.key == key and hold.store is self.store and not hold.is_over:
                why = "the run around this one does the same and waits for it; give it another key"
                raise InterceptorDeniedError(stage, self.name, f"{why} or another input.")

    async def _holding(self, key: str, proceed: Proceed) -> StageOutput:
        hold = _Hold(self.store, key)
        token = _held.set((*_held.get(), hold))
        try:
            return await proceed()
        finally:
            hold.is_over = True  # for tasks that were started inside and live on
            _held.reset(token)

    def _asked_key(self, invocation: Invocation) -> str | None:
        context = invocation.pipeline_context
        asked = context.data.get(_KEY)
        if asked is None and isinstance(context.inputs, Mapping):
            asked = context.inputs.get(_KEY)
        if asked is None:
            return None
        text = str(asked)
        if not text.strip():
            # An empty key is somebody's mistake, and would make all such calls one.
            raise InterceptorDeniedError(invocation.stage_name, self.name, f"{_KEY} is blank")
        return text

    def _hash(self, invocation: Invocation, asked: str | None) -> str | None:
        if asked is not None and not self.validate_params:
            return None
        codec = self._codec or Codec.default()
        try:
            return _digest(codec.encode(self._params(invocation), where="input"))
        except CodecError as error:
            if asked is not None:
                raise
            stage = invocation.stage_name
            if stage not in self._unhashable:
                self._unhashable.add(stage)
                _log.warning("idempotency.input_not_comparable", stage=stage, error=str(error))
            return None

    async def _keep(
        self,
        key: str,
        invocation: Invocation,
        output: StageOutput,
        asked: str | None,
        params_hash: str | None,
    ) -> None:
        expires = None
        if self.ttl_seconds is not None:
            expires = invocation.run.clock.now() + timedelta(seconds=self.ttl_seconds)
        result = invocation.result(output)
        entry = CachedStageResult(result, params_hash, expires, version=output.version)
        try:
            await self.store.set(key, entry, ttl_seconds=self.ttl_seconds)
        except Exception as error:
            if asked is not None and isinstance(error, CodecError):
                raise  # found when the stage is first tried, and not by trying again
            _log.exception("idempotency.not_kept", stage=invocation.stage_name, error=str(error))


def _input_of(invocation: Invocation) -> dict[str, Any]:
    run, context = invocation.run, invocation.context
    snapshot = context.snapshot.to_dict()
    inputs = run.context.inputs
    return {
        "snapshot": {name: snapshot[name] for name in _SNAPSHOT_KEYS},
        "inputs": {name: value for name, value in inputs.items() if name != _KEY},
        "dependencies": {
            name: [output.status.value, output.data]
            for name, output in context.inputs.prior_outputs.items()
        },
        "config": dict(run.plan.nodes[invocation.index].config or {}),
    }


def _digest(payload: bytes) -> str:
    # Dictionaries that are equal may have been filled in different orders.
    ordered = json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(ordered.encode()).hexdigest()


def _full_key(invocation: Invocation, asked: str | None, params_hash: str | None) -> str:
    run = invocation.run
    scope = [run.plan.name, invocation.stage_name]
    own = ["key", asked] if asked is not None else ["input", params_hash]
    retries = run.guard_retries
    rounds = 0 if retries is None else retries.round_of(invocation.index)
    # As JSON, so that no two scopes are written alike.
    return json.dumps([*scope, *own, *([rounds] if rounds else [])], ensure_ascii=False)


def _has_expired(entry: CachedStageResult, invocation: Invocation) -> bool:
    return entry.expires_at is not None and entry.expires_at <= invocation.run.clock.now()


def _replayed(entry: CachedStageResult, stage: str) -> StageOutput:
    output = output_of(entry.result, stage)
    return attrs.evolve(
        output,
        version=entry.version,
        metadata={**output.metadata, "idempotent_replay": True},
    )
