# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ovirt_hosted_engine_ha.lib.util import to_bool


def test_flags_as_people_and_files_write_them() -> None:
    assert all(to_bool(value) is True for value in (True, "True", " yes ", "1", "t", "Y", 1))
    assert all(to_bool(value) is False for value in (False, "False", "no", "0", "f", "", None, 0))
    for value in ("perhaps", "2", "None!"):
        with pytest.raises(ValueError, match="neither true nor false"):
            to_bool(value)
