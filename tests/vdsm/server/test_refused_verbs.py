# SPDX-License-Identifier: Apache-2.0
"""Verbs that the embedded VDSM can't do."""

from __future__ import annotations

import pytest

from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.refused_verbs import REFUSED, check_refused


@pytest.mark.parametrize(
    ("verb", "code"),
    [
        ("Volume.delete", 309),
        ("StoragePool.connect", 309),
        ("Lease.info", 309),
        ("Host.getAllTasksStatuses", 654),
        ("ISCSIConnection.discoverSendTargets", 475),
        ("LVMVolumeGroup.getInfo", 506),
    ],
)
def test_each_has_vdsms_code_and_a_sentence(verb: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        check_refused(verb)
    assert refused.value.code == code
    assert refused.value.message


def test_others_are_not_refused() -> None:
    check_refused("VM.create")
    assert "VM.create" not in REFUSED
