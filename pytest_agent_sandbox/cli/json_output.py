"""What `--json` prints: one document, for programs."""

from __future__ import annotations

import json
import math
from typing import Any


def print_json(document: Any) -> None:
    """Print a document; in ASCII, so that nothing in it steers a terminal."""
    print(json.dumps(_finite(document), indent=2))


def _finite(value: Any) -> Any:
    """Return a value without numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
