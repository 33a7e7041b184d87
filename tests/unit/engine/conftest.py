"""How hard hypothesis tries: `--hypothesis-profile=deep` for an hour of searching."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("deep", max_examples=5000, suppress_health_check=list(HealthCheck))
