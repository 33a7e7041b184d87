"""MockAuthProvider: a sign-in service for tests. It protects nothing."""

from __future__ import annotations

import random as random_module
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from stageflow.contracts.clock import Clock
from stageflow.helpers.errors import MockAuthError
from stageflow.helpers.mocks._simulation import Simulation

__all__ = ("MockAuthProvider", "MockJWTClaims")

_SHOWN_CHARACTERS: Final = 20


@attrs.frozen
class MockJWTClaims:
    """What a token says of its bearer.

    Attributes:
        sub: Who it is.
        exp: Until when the token is good, in seconds of unix time; None for ever.
        iat: When it was made, in seconds of unix time.
        roles: What the bearer may be.
        org_id: The bearer's organisation.
        email: The bearer's address.
        metadata: Further claims.
    """

    sub: str
    exp: float | None = None
    iat: float | None = None
    roles: tuple[str, ...] = ()
    org_id: str | None = None
    email: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict, hash=False)


class MockAuthProvider:
    """Validates tokens that it was given or made itself.

    Args:
        valid_tokens: Claims by token.
        default_claims: Claims for unknown tokens, if those are accepted.
        accept_any: Accept unknown tokens.
        fail_rate: Share of the validations that fail.
        latency_ms: How long a validation takes.
        random: Source of failures and tokens; of a fixed seed unless given.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        valid_tokens: Mapping[str, MockJWTClaims] | None = None,
        default_claims: MockJWTClaims | None = None,
        accept_any: bool = False,
        fail_rate: float = 0.0,
        latency_ms: float = 0,
        random: random_module.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._valid_tokens = dict(valid_tokens or {})
        self._default_claims = default_claims or MockJWTClaims("mock-user")
        self._accept_any = accept_any
        self._simulation = Simulation(
            "MockAuthProvider",
            latency_ms=latency_ms,
            fail_rate=fail_rate,
            random=random,
            clock=clock,
        )
        self.reset()

    def reset(self) -> None:
        """Forget all validations; tokens stay valid."""
        self.validation_count = 0
        self.validation_history: list[dict[str, Any]] = []

    async def validate(self, token: str) -> MockJWTClaims:
        """Return the claims of *token*.

        Raises:
            MockAuthError: It is unknown or expired, or was drawn to fail (a `ValueError` too).
        """
        self.validation_count += 1
        shown = token if len(token) <= _SHOWN_CHARACTERS else f"{token[:_SHOWN_CHARACTERS]}..."
        self.validation_history.append({"token": shown, "timestamp": self._simulation.timestamp()})
        await self._simulation.pass_time()
        if self._simulation.fails():
            raise MockAuthError("Mock auth failure")
        claims = self._valid_tokens.get(token)
        if claims is not None:
            if claims.exp is not None and claims.exp <= self._now():
                raise MockAuthError("Token expired")
            return claims
        if self._accept_any:
            return self._default_claims
        raise MockAuthError("Invalid token")

    def create_token(
        self,
        sub: str,
        *,
        roles: Iterable[str] | None = None,
        org_id: str | None = None,
        email: str | None = None,
        expires_in_seconds: float | None = 3600,
        **metadata: Any,
    ) -> tuple[str, MockJWTClaims]:
        """Make a token that is valid from now on.

        Args:
            sub: Who bears it.
            roles: What the bearer may be.
            org_id: The bearer's organisation.
            email: The bearer's address.
            expires_in_seconds: How long it is good; None for ever.
            **metadata: Further claims.

        Returns:
            The token and its claims.
        """
        now = self._now()
        claims = MockJWTClaims(
            sub,
            None if expires_in_seconds is None else now + expires_in_seconds,
            now,
            tuple(roles or ()),
            org_id,
            email,
            metadata,
        )
        token = f"mock_token_{self._simulation.random.getrandbits(128):032x}"
        self._valid_tokens[token] = claims
        return token, claims

    def _now(self) -> float:
        return self._simulation.clock.now().timestamp()
