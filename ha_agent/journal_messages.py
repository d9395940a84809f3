# SPDX-License-Identifier: Apache-2.0
"""The events that an operator meets in the journal, one declaration each. Pure.

Each has a MESSAGE_ID that never changes (sd-journal's catalog and people's scripts know it), and
words for `journalctl -x`: what happened, what ha-agent does about it by itself, and what is left
for the operator. `@FIELD@` in them stands for a field of the record. A call that logs one says so:

    log.info("lease taken: epoch %d", 7, extra=fields(LEASE_TAKEN, epoch=7))

systemd/ha-agent.catalog and docs/journal.md are made from here (scripts/make_catalog.py).
An id is made with `journalctl --new-id128`, and not used again when its event goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One kind of event. `guide` is a file of docs/, "" where there is none. `each`: it is told
    each time, also when the same was said a moment ago (log.py). `about`: what it tells the state
    of, "" for an event of its own; it is told whenever the last one about that was another."""

    id: str
    subject: str
    what: str
    we: str
    you: str
    guide: str = ""
    each: bool = False
    about: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the record that its words stand on."""
        words = " ".join((self.subject, self.what, self.we, self.you))
        return tuple(dict.fromkeys(re.findall("@([A-Z_0-9]+)@", words)))


_NONE = "Nothing is to be done."

DAEMON_STARTED = Message(
    "48c5394026424872ba97ec2591a83998",
    "@SYSLOG_IDENTIFIER@ has started",
    "The daemon has read its configuration and begins its work on host id @HA_HOST_ID@.",
    "It takes up what it finds: a VM that runs, a lease that is held.",
    "Nothing is to be done. If it starts again and again, see what it said before: journalctl -u "
    "ha-agent -u ha-broker -u ha-vdsm -b.",
    each=True,
)
DAEMON_STOPPED = Message(
    "3c38f7d2521f4bd0b476ddc77d9435ad",
    "@SYSLOG_IDENTIFIER@ stops",
    "The daemon was asked to stop.",
    "The engine VM is left as it is. While the agent is stopped nobody here watches it; while "
    "the broker is stopped nobody renews the lease, and what forbids a second start is the VM "
    "lease.",
    "Start it again: systemctl start ha-broker ha-agent. A broker that is to stay stopped needs "
    "its socket stopped, too: systemctl stop ha-broker.socket ha-broker. To take a host out of "
    "service, use ha-agent maintenance local first.",
    each=True,
)
LOOP_LATE = Message(
    "5a938923ec0645a4a169f7ffed32560c",
    "@SYSLOG_IDENTIFIER@ stood still for @HA_SECONDS@ seconds",
    "The daemon's loop did not go round for so long: the host was suspended or overloaded, or "
    "something in the daemon blocked.",
    "It goes on. When a loop stands still for 30 seconds, systemd ends the daemon and starts it "
    "anew; an owner whose broker stands still for longer than the lease's deadline has its VM "
    "ended by the guard.",
    "Look at the host's load, memory and swap: ha-agent status; journalctl -k. If it comes again "
    "on a host that is idle, it is a fault of ours: report it with the journal.",
)
BUG = Message(
    "5b619559f2514d7eada193133dffde5b",
    "A fault in @SYSLOG_IDENTIFIER@ itself",
    "Something failed in a way that the program does not expect. The record has the traceback.",
    "The step ends in a safe state, or the process ends and systemd starts it anew.",
    "Report it with the journal of the last minutes: journalctl -u ha-agent -u ha-broker --since "
    "-10min -o export.",
)
RECORDS_LOST = Message(
    "8e970be4720146e789f779993a18790a",
    "@HA_COUNT@ records of the log are lost",
    "journald took nothing for a while: it was stopped, hung, or its disk was full. So many "
    "records were over what is kept meanwhile.",
    "The daemons never wait for their log, and go on. What happened stands in the timeline, too.",
    "See ha-agent events for what happened meanwhile, and systemctl status systemd-journald for "
    "the cause.",
    each=True,
)
CONFIG_REFUSED = Message(
    "4110bc2a598d4055a8adb114bf699ccc",
    "The changed configuration can't be used",
    "A file of the configuration was changed, and it has faults: @HA_REASON@",
    "The old configuration stays in use. A daemon that is started now would not start, unless all "
    "that is said is that a key takes a stop and a start: then it has the new value.",
    "Look for the faults with ha-agent config show, correct the file, and reload: systemctl "
    "reload ha-agent ha-broker.",
)
CONFIG_TAKEN = Message(
    "ba45d50f02d948fc8712f5620c4e2e99",
    "The changed configuration is in use",
    "A file of the configuration was changed, and read without fault.",
    "The agent uses new weights and timeouts of decisions at once; at a reload a daemon begins "
    "anew with all of it.",
    "For other keys: systemctl reload ha-agent ha-broker. The engine VM is not touched by it.",
)
STATE_CHANGED = Message(
    "b882d599d1fa4c7283ecb68f1007e3a0",
    "The agent went from @HA_PREV_STATE@ to @HA_STATE@",
    "The state machine on host id @HA_HOST_ID@ took an edge, because: @HA_REASON@. The host's "
    "score is @HA_SCORE@ (3400 is best).",
    "What follows from the state is asked for at once, and told by records of its own.",
    "Nothing is to be done for that alone. ha-agent explain tells what it waits for, and which "
    "hosts could run the engine VM.",
    each=True,
)
VM_STARTED = Message(
    "761056abf7314c97b079dbfd3c0d7a52",
    "The engine VM was started on host id @HA_HOST_ID@",
    "The start of VM @HA_VM_ID@ was accepted: @HA_REASON@.",
    "The engine in it has the time [engine] start_timeout_seconds to become healthy; otherwise "
    "the VM is restarted, elsewhere where that is better.",
    "Nothing is to be done. ha-agent status tells when the engine is healthy.",
    each=True,
)
VM_START_FAILED = Message(
    "a6646806d18a43428965aabd52dc55ae",
    "The engine VM could not be started on host id @HA_HOST_ID@",
    "VM @HA_VM_ID@ was not started: @HA_REASON@.",
    "It is tried again with a growing pause; after several failures the lease is given up, so "
    "that another host can start it.",
    "Look at the reason. ha-agent explain tells when the next try is due, ha-agent ovf explain "
    "--store what the VM is started from.",
    "guides/change-the-vm.md",
)
VM_STOPPED = Message(
    "e43cb6f61b4146a8882fdf0c3af104a4",
    "The engine VM is being stopped on host id @HA_HOST_ID@",
    "The stop of VM @HA_VM_ID@ was accepted: @HA_REASON@.",
    "When it has ended, the lease is given up, and the best host starts it, unless maintenance "
    "forbids that.",
    _NONE,
    each=True,
)
VM_STOP_FAILED = Message(
    "46517918cbea442ebb4cf740406a1701",
    "The engine VM could not be stopped on host id @HA_HOST_ID@",
    "VM @HA_VM_ID@ was not stopped: @HA_REASON@.",
    "It is asked again, by force in the end. The lease is kept for as long as the VM runs.",
    "If it goes on: ha-agent status, and the log of VDSM or libvirt.",
)
VM_DIED = Message(
    "614636313fef41f8a0ad26503b72859d",
    "The engine VM ended unasked on host id @HA_HOST_ID@",
    "VM @HA_VM_ID@ ran here and does not any more, and nobody of ours stopped it: @HA_REASON@.",
    "It is started again here, within seconds; after several times in a row it is left to other "
    "hosts.",
    "Nothing is to be done for one time. If it comes again, look into the guest, and at the "
    "host's QEMU log: /var/log/libvirt/qemu/ or that of ha-vdsm.",
    each=True,
)
SECOND_VM = Message(
    "51759c9ac688403aba3b53f1207e14f9",
    "Another host says that the engine VM runs there, too",
    "@MESSAGE@",
    "The VM here is left alone: no host ends another's. With a working VM lease two can't run at "
    "once; a block that was written before a host died may look so for a moment.",
    "If it stays, act at once: find the QEMU processes with the VM's id @HA_VM_ID@ on both hosts "
    "(pgrep -af @HA_VM_ID@), and end the one whose host does not own the lease (ha-agent "
    "lockspace check).",
)
LEASE_TAKEN = Message(
    "08970665ea0143bd97990effb04e7298",
    "This host took the lease, epoch @HA_EPOCH@",
    "Host id @HA_HOST_ID@ owns the engine VM from now on. The lease was free before.",
    "It is renewed every few seconds; the guard ends the VM here if it can't be.",
    _NONE,
    each=True,
)
TAKEN_OVER = Message(
    "4522f447c9d1469399079273a21f17d5",
    "This host took the lease over, epoch @HA_EPOCH@",
    "The lease of the owner before had expired: that host is dead, cut off, or its broker hangs. "
    "Host id @HA_HOST_ID@ owns the engine VM now.",
    "The VM is started here. The other host, if it lives, has ended its own before the lease "
    "expired.",
    "Nothing is to be done for the engine. See what happened to the other host: ha-agent "
    "explain; ha-agent events.",
    "guides/host-died.md",
    each=True,
)
LEASE_LOST = Message(
    "a759d8789e314fd098f7dcc064a2f310",
    "This host lost the lease, epoch @HA_EPOCH@",
    "The lease was not renewed until its deadline, or another host has it: @MESSAGE@",
    "The guard ends the engine VM here, if it runs, before another host may start it.",
    "See why storage could not be written in time: ha-agent status; journalctl -k.",
    "guides/storage-died.md",
    each=True,
)
LEASE_RELEASED = Message(
    "dcac8ae31bec43b785bdd4547e134e7a",
    "The lease was given up, epoch @HA_EPOCH@",
    "Its owner has no engine VM any more and does not need the lease: @MESSAGE@",
    "The best live host takes it, at once.",
    _NONE,
    each=True,
)
LEASE_ELSEWHERE = Message(
    "80527c5ab1424cf29e40e4742d8cb275",
    "Another host took the lease, epoch @HA_EPOCH@",
    "@MESSAGE@",
    "This host watches the lease, and takes over if it is not renewed.",
    _NONE,
    each=True,
)
LEASE_EXPIRED = Message(
    "ecdc60cbce734e629ea2a8ace646337c",
    "The owner's lease has expired, epoch @HA_EPOCH@",
    "By this host's clock the owner has not renewed it for the whole time of the lease: @MESSAGE@",
    "The best live host takes it over and starts the engine VM, the others after it in order of "
    "merit.",
    "Nothing is to be done for the engine. See what happened to that host.",
    "guides/host-died.md",
    each=True,
)
LEASE_UNREADABLE = Message(
    "53e17c1fa3c6401984aedfec710ea24d",
    "The lease can't be read",
    "@MESSAGE@",
    "Nothing is started on this host while nobody knows whose the lease is.",
    "Look at the storage: ha-agent status; ha-agent lockspace check.",
    "guides/storage-died.md",
)
LEASE_REFUSED = Message(
    "c53e05ede8384f26a25196dfc23e6b77",
    "The lease was not taken",
    "The agent asked for the lease and did not get it: @HA_REASON@.",
    "It looks again and decides anew; most often another host was faster, which is as it should "
    "be.",
    "Nothing is to be done, unless no host gets it: ha-agent explain tells why.",
)
FENCED = Message(
    "6c56159d2d394bf4b96ab34187fd2540",
    "The guard ended the engine VM on this host",
    "The lease was not renewed until its deadline, so the guard process has ended the VM's "
    "processes here before another host may start it.",
    "Another host starts the VM when the lease has expired. When this host can write to storage "
    "again it takes its place in the cluster.",
    "Find out why renewals failed: storage, or a broker that hung. ha-agent status; journalctl "
    "-u ha-broker; journalctl -k.",
    "guides/storage-died.md",
    each=True,
)
FENCE_TROUBLE = Message(
    "91527becbf6c4ea08aff79ac64303d64",
    "The guard meets an obstacle",
    "@MESSAGE@",
    "The guard tries again, four times a second.",
    "If it is not permitted to end a process, the broker's unit has lost CAP_KILL: systemctl cat "
    "ha-broker. If a VM must end and does not, see what holds its process: it may be stuck in "
    "the kernel, waiting for storage. Its VM lease is held until it is gone, so no second one can "
    "run.",
    "guides/storage-died.md",
)
HOST_ID_LOST = Message(
    "96104d7b89ab4459af2e04ce11cb7df8",
    "This host does not hold its host id",
    "@MESSAGE@",
    "It writes neither its status block nor the lease until it has the id again; asking goes on.",
    "If two hosts have one id, give one of them another: ha-agent config show on both; ha-agent "
    "lockspace check.",
    "guides/add-hosts.md",
)
SANLOCK_GONE = Message(
    "ef8a9e982a5c412ab2b01446fc87a1f2",
    "sanlock does not keep this host's leases any more",
    "@MESSAGE@",
    "No lease is taken here. If the engine VM runs here, its deadline passes and it is ended; "
    "this host joins again as soon as sanlock answers.",
    "Look at the daemon: systemctl status sanlock wdmd; sanlock client status. Do not restart "
    "sanlock while VMs with leases run.",
    "guides/storage-died.md",
)
STORAGE_LOST = Message(
    "e314aac794f34ae796ff28571e97da2d",
    "Shared storage is in trouble",
    "@MESSAGE@",
    "Status is answered from memory. If this host owns the engine VM and can't renew the lease, "
    "the VM is ended here and started on a host that can.",
    "Look at the path to the storage from this host: cables, switch, multipath, mount; ha-agent "
    "status.",
    "guides/storage-died.md",
    about="storage",
)
STORAGE_BACK = Message(
    "1ac6878dc9724d5ca73cc88edc20c00c",
    "Shared storage is fine again",
    "@MESSAGE@",
    "This host takes its place again. Nothing has to be restarted.",
    _NONE,
    "guides/storage-died.md",
    about="storage",
)
STORAGE_HUNG = Message(
    "e5948b62220041279e0c4119dc5c54cd",
    "Shared storage hangs",
    "@MESSAGE@",
    "Calls are given up at their deadlines and new processes are used, up to a bound; those that "
    "hang in the kernel end when it lets them go.",
    "As long as it lasts, see journalctl -k for the driver's words (nfs: server not responding; "
    "blocked for more than 120 seconds).",
    "guides/storage-died.md",
    about="storage",
)
VDSM_LOST = Message(
    "bdfe93b5086d437dbf727480f9e43b51",
    "VDSM does not answer",
    "The connection at @HA_PEER@ is lost or refused: @HA_REASON@.",
    "It is tried again every moment. Until then nothing is started or stopped here; a VM that "
    "runs goes on.",
    "Look at it: systemctl status vdsmd (or ha-vdsm, or libvirtd); journalctl -u vdsmd.",
    about="vdsm",
)
VDSM_BACK = Message(
    "11187849b4c241f8947e7076c08c1636",
    "VDSM answers",
    "The connection at @HA_PEER@ is there.",
    "Events are heard again, and the VM's state is looked at anew.",
    _NONE,
    about="vdsm",
)
ENGINE_BAD = Message(
    "24c5fb450ce243e4aa7409408fda4d12",
    "The engine does not answer well",
    "The VM runs, but the engine's health page is not as it should be: @MESSAGE@",
    "After [engine] bad_health_grace_seconds of nothing but bad answers the VM is restarted, "
    "where it is best.",
    "To look into the guest in peace: ha-agent maintenance global --for 1h --reason TEXT; and "
    "afterwards ha-agent maintenance global --off.",
    "guides/engine-hangs.md",
    about="engine",
)
ENGINE_GOOD = Message(
    "8af76f0040284468b4710ea83b118d6e",
    "The engine is healthy",
    "@MESSAGE@",
    "The definition that it was started from counts as good from now on.",
    _NONE,
    "guides/engine-hangs.md",
    about="engine",
)
MAINTENANCE = Message(
    "f05a1ebe6f604a838a10c43cc9c2f8de",
    "Maintenance was changed",
    "@MESSAGE@",
    "Under global maintenance no host starts or stops the engine VM. A host in local maintenance "
    "gives the VM away and takes none.",
    "When the work is done: ha-agent maintenance global --off; ha-agent maintenance local --off "
    "on a host in local maintenance. ha-agent status tells who set it, and until when.",
    "guides/cluster-shutdown.md",
)
DEFINITION_CHANGED = Message(
    "73d7a45b800d41bbaf11a46752dde95c",
    "The engine VM has another definition",
    "@MESSAGE@",
    "It applies at the VM's next start; a running VM is not changed. All versions are kept.",
    "To see what changed: ha-agent ovf history; to undo it: ha-agent ovf rollback NUMBER.",
    "guides/change-the-vm.md",
)
DEFINITION_HELD = Message(
    "37dbe75685f44e338b19b6939c95ec1c",
    "A definition of the engine VM was refused",
    "@MESSAGE@",
    "The last good one stays in use, and the VM can be started from it.",
    "ha-agent status tells what is against it. If it is what you want: ha-agent ovf accept "
    "IDENTITY (--force where the guard says so); else correct the VM in the engine.",
    "guides/change-the-vm.md",
)
DEFINITION_STALE = Message(
    "d8bfc5d554b24d128ab5f3525457d183",
    "The last good definition is used",
    "The definition in the store can't be read: @MESSAGE@",
    "The engine VM can be started from what this host has kept.",
    "Look at the store: ha-agent store verify. A copy that is damaged is written anew by the "
    "engine's next update, or by ha-agent store put.",
    "guides/restore-from-backup.md",
)
DEFINITION_FALLBACK = Message(
    "d293a7694d664524a6d170b95cafbcc1",
    "The engine VM starts from an earlier definition",
    "The start from the current definition failed or the engine did not become healthy: @MESSAGE@",
    "The last definition is used with which the engine did become healthy.",
    "Correct the current one: ha-agent ovf history; ha-agent ovf diff; ha-agent ovf rollback "
    "NUMBER makes the earlier one the current.",
    "guides/change-the-vm.md",
)
PUSH_TAKEN = Message(
    "2e13e5dfca7b40a59fa3c0e02864bfcc",
    "The engine sent a definition",
    "@MESSAGE@",
    "It is in the store, and all hosts read it now.",
    _NONE,
    "push.md",
)
PUSH_REFUSED = Message(
    "d02c3920f06e42c687b7746f00801daf",
    "A push of the engine was refused",
    "@MESSAGE@",
    "Nothing was changed. The engine's caller was told why.",
    "If it was the engine: compare its certificate and name with [push] allowed_names, and its "
    "clock with this host's; ha-agent status has the push's state. If it was not, somebody tries "
    "the port.",
    "push.md",
)
CERTIFICATE_ENDS = Message(
    "807c8f7cc9994eb9ae204ca24f7e9691",
    "A certificate ends",
    "@MESSAGE@",
    "It is used for as long as it is valid. A new file is taken into use without a restart.",
    "Renew it: in the engine, Hosts, Installation, Enroll Certificate; the engine's own with "
    "engine-setup.",
    "push.md",
)
PEER_SILENT = Message(
    "ed5bcd8a2acb492896d99646d80e3085",
    "Another host has fallen silent",
    "@MESSAGE@",
    "If it owned the engine VM, the best live host takes over when the lease has expired.",
    "See what happened to it. One that never comes back is forgotten with ha-agent host remove "
    "ID.",
    "guides/host-died.md",
    about="peers",
)
PEER_BACK = Message(
    "f85fc636bad34d70bfbdc59a75aa2ed2",
    "Another host is alive",
    "@MESSAGE@",
    "It counts again when the best host is looked for.",
    _NONE,
    "guides/host-died.md",
    about="peers",
)
PEER_UNREADABLE = Message(
    "cc962ed068924cffadd25fd175446ede",
    "Another host's status block can't be used",
    "@MESSAGE@",
    "That host counts as unknown: it is no candidate for a take-over by this host's reckoning. "
    "All others are as they were.",
    "If that host has a newer version of ha-agent, upgrade this one. If it is damaged, it is "
    "written anew by its host within seconds; else see ha-agent lockspace check.",
    "guides/add-hosts.md",
)
PEER_CHANGED = Message(
    "f9d4604589134e3ca62426c9dc2f3980",
    "Something changed on another host",
    "@MESSAGE@",
    "This host takes it into account.",
    _NONE,
)
AGENT_SILENT = Message(
    "ed63a69e0f074affa83e7cfe919e2504",
    "This host's agent does not report",
    "@MESSAGE@",
    "systemd ends and restarts an agent whose loop stands still for 30 seconds. If it stays "
    "silent and no VM runs here, the broker gives the lease up.",
    "Look at it: systemctl status ha-agent; journalctl -u ha-agent.",
    about="agent",
)
AGENT_BACK = Message(
    "2c15795c2c7043eca1f76f97dafd87f0",
    "This host's agent reports",
    "@MESSAGE@",
    "Decisions are made again.",
    _NONE,
    about="agent",
)
INCIDENT_OPENED = Message(
    "4d1f368a45894280b2679ea045468b2f",
    "Incident: @HA_TITLE@",
    "@HA_TITLE@: @HA_REASON@. Its kind is @HA_KIND@, its severity @HA_SEVERITY@, its number "
    "@HA_INCIDENT@.",
    "It is told on the channels that are configured ([notify]), by one host of the cluster, and "
    "closes by itself when the trouble is over.",
    "ha-agent status lists what is open, ha-agent explain tells why, and ha-agent events what "
    "came before.",
    "notify.md",
    each=True,
)
INCIDENT_CLOSED = Message(
    "be4594da7f7548f4bced178e005afd64",
    "Over: @HA_TITLE@",
    "Incident @HA_INCIDENT@ of kind @HA_KIND@ is over.",
    "That is told on the channels, too.",
    _NONE,
    "notify.md",
    each=True,
)
CLOCK_JUMPED = Message(
    "d889541cf13c4b6093ffa88fefb3f064",
    "This host's calendar jumped",
    "@MESSAGE@",
    "Nothing of the lease depends on the calendar: only on a clock that does not jump. Times in "
    "logs and the ends of timed maintenance are off until it is right.",
    "Look at the time service: chronyc tracking; timedatectl.",
)
NOTIFY_FAILED = Message(
    "ac62182135a749d2982346525a0d1e98",
    "A notification could not be delivered",
    "@MESSAGE@",
    "It is tried again with a growing pause, and another host with working channels takes it "
    "over. Nothing else waits for it.",
    "Try the channels: ha-agent notify test. Then see [notify] of the configuration.",
    "notify.md",
)

MESSAGES: Mapping[str, Message] = {
    name: value for name, value in list(globals().items()) if isinstance(value, Message)
}
"""All of them by name, in the order in which they stand above."""
