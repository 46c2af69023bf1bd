"""The JSON files that data sets are released with."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        ValueError: If the file cannot be read or is no such file.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; it is part of the release") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object; unpack the release again")
    return content
