# SPDX-License-Identifier: Apache-2.0
"""What the embedded VDSM can't do, and how VDSM says so: a code of its own, and a sentence.

These are not unknown verbs: VDSM has them, and refuses them with the same code on a host whose
pool is not connected, that is not the pool's manager (SPM), or that has no such storage. Codes
are from facts 1.3 and vdsm's lib/vdsm/storage/exception.py, lib/vdsm/common/exception.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal

ISCSI_NODE_ERROR = 460  # AddiSCSINodeError
STORAGE_TYPE_ERROR = 468
_DISCOVERY_ERROR = 475
_VOLUME_GROUP_MISSING = 506
_VOLUME_GROUP_NOT_CREATED = 502

_POOL = (
    int(VdsmCode.POOL_NOT_CONNECTED),
    "Unknown pool id, pool not connected: this VDSM connects no pool",
)
_SPM = (int(VdsmCode.NOT_SPM), "Not SPM: this VDSM manages no pool")
_NO_ISCSI = (
    _DISCOVERY_ERROR,
    "Failed discovery of iSCSI targets: this VDSM uses file storage only",
)


def _named(refusal: tuple[int, str], names: str) -> dict[str, tuple[int, str]]:
    return dict.fromkeys(names.split(), refusal)


REFUSED: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        **_named(
            _POOL,
            "Volume.delete Volume.getSize Volume.copy Volume.extendSize Volume.updateSize"
            " Volume.setSize Volume.setLegality Image.delete Image.move"
            " Lease.create Lease.delete Lease.info Lease.status"
            " StorageDomain.attach StorageDomain.activate StorageDomain.detach"
            " StorageDomain.deactivate StoragePool.connect StoragePool.create"
            " StoragePool.destroy StoragePool.getInfo StoragePool.getSpmStatus"
            " StoragePool.spmStart StoragePool.spmStop StoragePool.reconstructMaster",
        ),
        **_named(_SPM, "Host.getAllTasksStatuses Host.getAllTasksInfo"),
        **_named(_NO_ISCSI, "ISCSIConnection.discoverSendTargets"),
        "LVMVolumeGroup.create": (
            _VOLUME_GROUP_NOT_CREATED,
            "Cannot create Volume Group: this VDSM uses file storage only",
        ),
        **_named(
            (_VOLUME_GROUP_MISSING, "Volume Group does not exist"),
            "LVMVolumeGroup.getInfo LVMVolumeGroup.remove",
        ),
    }
)


def check_refused(method: str) -> None:
    """Raise the Refusal of a verb that can't be done here."""
    refusal = REFUSED.get(method)
    if refusal is not None:
        raise Refusal(*refusal)
