# SPDX-License-Identifier: Apache-2.0
"""JSON from outside, as the one kind that this package reads: an object, in UTF-8. Pure.

What is in it, and how long it may be, its readers know.
"""

from __future__ import annotations

import json
from typing import Any, Union

from ha_agent.errors import BadInput


def json_object(data: Union[bytes, str], *, where: str, what: str = "it") -> dict[str, Any]:
    """Return the object; `what` is what errors call it.

    Raises BadInput for bytes that are not UTF-8, for what is no JSON or nested too deep, and for
    JSON that is no object.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what} is not JSON: {error}", where=where) from None
    if not isinstance(value, dict):
        raise BadInput(f"{what} is not a JSON object", where=where)
    return value
