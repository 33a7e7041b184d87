"""CircuitBreakerInterceptor: a stage that keeps failing is left alone for a while."""

from __future__ import annotations

import threading
from enum import StrEnum

from stageflow._engine.call import Invocation, Proceed
from stageflow.contracts.logs import get_logger
from stageflow.interceptors.base import BaseInterceptor, InterceptorDeniedError
from stageflow.stages import StageOutput, StageStatus

__all__ = ("CircuitBreakerInterceptor", "CircuitOpenError", "CircuitState")

_log = get_logger(__name__)


class CircuitState(StrEnum):
    """What a circuit does with the next execution of its stage."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitOpenError(InterceptorDeniedError):
    """A stage was not run because it failed too often of late.

    Attributes:
        state: `open`, or `half_open` while another execution tries whether the stage works.
        failures: How often it failed in a row.
        retry_after: Seconds until an execution is let through to try again; 0 while one does.
    """

    code = "SF324"
    retryable = True

    def __init__(
        self,
        stage: str,
        interceptor: str,
        *,
        state: CircuitState,
        failures: int,
        retry_after: float,
    ) -> None:
        what = (
            "the circuit is half-open and another execution tries whether it works again"
            if state is CircuitState.HALF_OPEN
            else f"the circuit is open for another {retry_after:g} s"
        )
        super().__init__(stage, interceptor, f"after {failures} failures in a row {what}.")
        self.hint = "Find out why the stage fails; it is tried again by itself."
        self.state = state
        self.failures = failures
        self.retry_after = retry_after


class _Circuit:
    """What is known about one stage. Its owner holds the lock."""

    __slots__ = ("era", "failures", "opened_at", "probing", "state")

    def __init__(self) -> None:
        self.state = CircuitState.CLOSED
        self.failures = 0
        self.opened_at = 0.0
        self.probing = False
        # Counts changes of state: what began before the last one has no say any more.
        self.era = 0

    def turn(self, state: CircuitState) -> None:
        self.state = state
        self.era += 1
        self.probing = False


class CircuitBreakerInterceptor(BaseInterceptor):
    """Stops running a stage that failed several times in a row, and tries it again later.

    Closed, the stage runs. After *failure_threshold* failures in a row the circuit opens: the
    stage fails at once with `CircuitOpenError`. *reset_timeout_seconds* later it is half-open:
    exactly one execution is let through, and its outcome closes the circuit or opens it again.

    An execution counts once, however many attempts it made; an exception and a FAIL output are
    failures, a denial by another interceptor and a cancellation are neither. What began before
    the circuit last changed does not count. Each stage name has a circuit of its own, shared by
    all runs that the instance takes part in; time is the run's.

    Args:
        failure_threshold: Failures in a row that open the circuit.
        reset_timeout_seconds: Seconds until one execution may try again.
    """

    name = "circuit_breaker"
    priority = 210

    def __init__(self, failure_threshold: int = 5, reset_timeout_seconds: float = 30.0) -> None:
        if failure_threshold < 1:
            raise ValueError(f"failure_threshold must be at least 1, not {failure_threshold}")
        if not reset_timeout_seconds > 0:
            raise ValueError(f"reset_timeout_seconds must be above 0, not {reset_timeout_seconds}")
        self.failure_threshold = failure_threshold
        self.reset_timeout_seconds = reset_timeout_seconds
        self._circuits: dict[str, _Circuit] = {}
        self._lock = threading.Lock()

    def state(self, stage_name: str) -> CircuitState:
        """Return the state of a stage's circuit, as the last execution left it."""
        circuit = self._circuits.get(stage_name)
        return CircuitState.CLOSED if circuit is None else circuit.state

    def reset(self, stage_name: str) -> None:
        """Close the circuit of a stage, whatever it did."""
        with self._lock:
            circuit = self._circuits.get(stage_name)
            if circuit is not None:
                circuit.failures = 0
                circuit.turn(CircuitState.CLOSED)

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage if its circuit lets it.

        Raises:
            CircuitOpenError: If it does not.
        """
        stage = invocation.context.stage_name
        circuit = self._circuits.get(stage)
        if circuit is None:
            circuit = self._circuits.setdefault(stage, _Circuit())
        era = circuit.era
        if circuit.state is not CircuitState.CLOSED:
            era = self._admit(circuit, stage, invocation.run.clock.monotonic())
        failed: bool | None = None
        try:
            output = await proceed()
            if output.status is StageStatus.FAIL:
                failed = True
            elif output.status is StageStatus.OK:
                failed = False
            return output
        except InterceptorDeniedError as error:
            # Who was not let in did not fail; what a stage passes on from elsewhere did.
            failed = None if error.stage == stage else True
            raise
        except Exception:
            failed = True
            raise
        finally:
            # Most often nothing changes, and then nothing needs the lock.
            if failed or circuit.failures or era != circuit.era:
                self._judge(circuit, stage, era, failed, invocation.run.clock.monotonic())

    def _admit(self, circuit: _Circuit, stage: str, now: float) -> int:
        """Let an execution through and return the era it belongs to, or refuse it."""
        with self._lock:
            if circuit.state is CircuitState.OPEN:
                left = circuit.opened_at + self.reset_timeout_seconds - now
                if left > 0:
                    raise self._refusal(circuit, stage, left)
                circuit.turn(CircuitState.HALF_OPEN)
            if circuit.state is CircuitState.HALF_OPEN:
                if circuit.probing:
                    raise self._refusal(circuit, stage, 0.0)
                circuit.probing = True
            return circuit.era

    def _judge(
        self, circuit: _Circuit, stage: str, era: int, failed: bool | None, now: float
    ) -> None:
        with self._lock:
            if era != circuit.era:
                return
            circuit.probing = False
            if failed is None:
                return
            if not failed:
                circuit.failures = 0
                if circuit.state is CircuitState.HALF_OPEN:
                    circuit.turn(CircuitState.CLOSED)
                    _log.info("circuit.closed", stage=stage)
                return
            circuit.failures += 1
            if (
                circuit.state is CircuitState.HALF_OPEN
                or circuit.failures >= self.failure_threshold
            ):
                circuit.turn(CircuitState.OPEN)
                circuit.opened_at = now
                _log.warning("circuit.opened", stage=stage, failures=circuit.failures)

    def _refusal(self, circuit: _Circuit, stage: str, left: float) -> CircuitOpenError:
        return CircuitOpenError(
            stage,
            self.name,
            state=circuit.state,
            failures=circuit.failures,
            retry_after=left,
        )
