"""Stand-ins for the services around a pipeline: models, speech, sign-in and tools.

Each is deterministic unless told otherwise, remembers how it was called, and can be slow or fail
on request. Time and randomness are given to it, so a test with a test clock never waits.
"""

from __future__ import annotations

from stageflow.helpers.mocks.auth import MockAuthProvider, MockJWTClaims
from stageflow.helpers.mocks.llm import MockLLMProvider, MockLLMResponse
from stageflow.helpers.mocks.speech import MockAudioChunk, MockSTTProvider, MockTTSProvider
from stageflow.helpers.mocks.tools import MockToolExecutor, MockToolResult

__all__ = (
    "MockAudioChunk",
    "MockAuthProvider",
    "MockJWTClaims",
    "MockLLMProvider",
    "MockLLMResponse",
    "MockSTTProvider",
    "MockTTSProvider",
    "MockToolExecutor",
    "MockToolResult",
)
