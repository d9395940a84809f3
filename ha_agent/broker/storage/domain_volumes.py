# SPDX-License-Identifier: Apache-2.0
"""What VDSM tells of the volumes of a storage domain, one broken volume hiding no other.

The predecessor's scan ended at the first volume that VDSM could not tell about, and with it the
search for the OVF_STORE (facts/ovf-and-volumes.md, 1.4). Who asks decides what is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed

Pair = tuple[str, str]
"""An image's and a volume's id."""


@dataclass
class Told:
    """`untold` has a sentence for each pair that VDSM could not tell about, or for (image, "")
    when that was a whole image. A volume that is gone is in neither."""

    infos: dict[Pair, VolumeInfo] = field(default_factory=dict)
    untold: dict[Pair, str] = field(default_factory=dict)


async def ask_volumes(
    vdsm: Vdsm, domain_uuid: str, images: Iterable[str], pairs: Iterable[Pair] = ()
) -> Told:
    """Ask about all volumes of images, then about further pairs.

    Raises EnvironmentFault when VDSM does not answer at all.
    """
    told = Told()
    wanted: list[Pair] = []
    for image_id in images:
        try:
            volumes = await vdsm.image_volumes(domain_uuid, image_id)
        except (VdsmCallFailed, VdsmBadAnswer) as error:
            told.untold[image_id, ""] = f"image {image_id}: {error}"
            continue
        wanted += [(image_id, volume_id) for volume_id in volumes]
    for image_id, volume_id in (*wanted, *pairs):
        try:
            info = await vdsm.volume_info(domain_uuid, image_id, volume_id)
        except (VdsmCallFailed, VdsmBadAnswer) as error:
            told.untold[image_id, volume_id] = f"volume {volume_id}: {error}"
            continue
        if info is not None:
            told.infos[image_id, volume_id] = info
    return told
