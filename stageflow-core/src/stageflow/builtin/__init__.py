"""What core itself implements of its contracts; found by entry point, as anyone's plugin is.

Nothing is imported from here by name: each module is loaded when its implementation is chosen.
"""

from __future__ import annotations

__all__ = ()
