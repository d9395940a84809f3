# SPDX-License-Identifier: Apache-2.0
"""Other hosts that say that the engine VM runs there, while it runs here.

No row asks for this, and nothing is stopped for it. A status block is some seconds old, and may
be that of an agent that hangs; the VM lease tells for certain, for a VM that has the disk open
holds it, and a second start is refused with it (OutcomeCode and VmExit LEASE_HELD_ELSEWHERE,
which the table does act on). To end a VM that is in order for another host's word would be worse
than what is feared. So it is said, and a person looks.
"""

from __future__ import annotations

from ha_agent.fsm.observation import LeaseCondition, Observation, PeerView, VmCondition

_HERE = (VmCondition.STARTING, VmCondition.UP, VmCondition.PAUSED, VmCondition.STOPPING)


def second_vms(observation: Observation) -> tuple[PeerView, ...]:
    """Return the live hosts that say so; () while it migrates, when two of them are right.

    The holder of an expired lease is dead: what its block says is older than that, unless it
    has gone back to the predecessor's software since, which renews no lease.
    """
    if observation.vm.condition not in _HERE:
        return ()
    lease = observation.lease
    dead = lease.host_id if lease.condition is LeaseCondition.EXPIRED else None
    return tuple(
        peer
        for peer in observation.peers
        if peer.alive and peer.vm_up and not peer.stopped
        if peer.predecessor or peer.host_id != dead
    )
