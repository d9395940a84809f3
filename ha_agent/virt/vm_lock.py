# SPDX-License-Identifier: Apache-2.0
"""What keeps the VM from running twice when agent and broker are dead, and the proof of it.

VDSM's answer is libvirt's <lease> with sanlock. Here an administrator may have any of three, and
one of them it has to be: a VM without is ended as soon as it is found to have none.

    image    QEMU's own lock on its disk images: OFD locks on bytes 100.. and 200.. of the file,
             taken before the image is used, held by QEMU's process itself and freed by the
             kernel with its end (QEMU docs, "Image locking"). File systems with locks for all
             hosts only: NFS 4, Gluster, CephFS, a local directory.
    lockd    libvirt's virtlockd: a lock on byte 0 of the disk images, held by virtlockd for QEMU.
             Needs `lock_manager = "lockd"` in qemu.conf; image's locks are there as well.
    sanlock  libvirt's sanlock plugin with the volume's lease, as under VDSM: for block domains
             too, and sanlock ends a QEMU that has lost its storage. Needs `lock_manager =
             "sanlock"`, auto_disk_leases = 0, and the storage domain's lockspace joined.

A helper process of ours that holds a lock "as long as QEMU lives" was the alternative, and is
worse than image: it can be killed while QEMU lives.

The proof, since qemu.conf may say anything and QEMU drops its locks in silence where the file
system has none: `image` is started with its CPUs stopped, the lock is looked for from a
descriptor of ours, and only then they run. The other two are taken by libvirt when CPUs start,
so they are looked for right after. The calls block and may hang with the storage.
"""

from __future__ import annotations

import os

from ha_agent import ofd_lock
from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.vdsm.vm.sanlock import binding
from ha_agent.vdsm.vm_status import lock_failure
from ha_agent.virt.errors import LibvirtCallFailed, LibvirtCode, VmLeaseMissing
from ha_agent.virt.place import LeaseKind, Placed

# QEMU block/file-posix.c: RAW_LOCK_SHARED_BASE 200 plus the bit of BLK_PERM_WRITE, 1: locked by
# who lets nobody else write.
_NO_OTHER_WRITER_BYTE = 201
_LOCKD_BYTE = 0


def prove(kind: LeaseKind, placed: Placed, host_id: int) -> None:
    """Look that the running VM has its lease; one of sanlock's is held by this host's id.

    Raises VmLeaseMissing, EnvironmentFault.
    """
    if kind is LeaseKind.SANLOCK:
        for lease in placed.leases:
            _prove_sanlock(*lease, host_id)
        return
    if not placed.disks:
        raise VmLeaseMissing("the VM has no disk that could be locked")
    byte = _NO_OTHER_WRITER_BYTE if kind is LeaseKind.IMAGE else _LOCKD_BYTE
    for path in placed.disks:
        if not _is_locked(path, byte):
            why = {
                LeaseKind.IMAGE: "QEMU has no lock on it; its file system may have none",
                LeaseKind.LOCKD: 'virtlockd has no lock on it: is lock_manager = "lockd" set in'
                " /etc/libvirt/qemu.conf, and libvirt restarted since?",
            }[kind]
            raise VmLeaseMissing(f"{path}: {why}")


def _is_locked(path: str, byte: int) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return ofd_lock.is_locked(descriptor, byte, 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error


def _prove_sanlock(lockspace: str, key: str, path: str, offset: int, host_id: int) -> None:
    sanlock = binding()
    resource = (lockspace.encode(), key.encode(), [(path, offset)])
    try:
        owners = sanlock.read_resource_owners(*resource)
    except sanlock.SanlockException as error:
        raise EnvironmentFault(f"sanlock, lease {path}: {error}") from error
    # A host that is dead stays an owner until somebody takes the lease.
    if host_id not in [owner["host_id"] for owner in owners]:
        raise VmLeaseMissing(
            f'{path}: this host does not hold this lease: is lock_manager = "sanlock" set in'
            " /etc/libvirt/qemu.conf, and libvirt restarted since?"
        )


def lock_text(fault: HaAgentError) -> str:
    """Return a failed start's words, as VDSM's exit message has them: a lock is told by them."""
    if isinstance(fault, LibvirtCallFailed) and lock_words(fault) != fault.message:
        return lock_words(fault)
    return str(fault)


def lock_words(fault: LibvirtCallFailed) -> str:
    """Return libvirt's message, with a lock that is held by another in VDSM's words."""
    if fault.code == LibvirtCode.RESOURCE_BUSY and lock_failure(fault.message) is None:
        # virtlockd says "Lockspace resource '...' is locked", and has this code for it.
        return f"Failed to acquire lock: {fault.message}"
    return fault.message
