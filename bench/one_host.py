# SPDX-License-Identifier: Apache-2.0
"""One host of the demo, as processes, for what needs no cluster: its load, its I/O, its idleness.

Nothing of the benchmark stands between its daemons.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional, TypeVar

from bench.cluster import CALL_DEADLINE_SECONDS, NotMeasured
from demo.domain import DemoDomain, make_domain
from demo.guest import build_guest
from demo.hosts import Host, free_port
from demo.patience import wait_for
from ha_agent.broker.blocks import codec as block_codec
from ha_agent.broker.blocks.codec import GlobalBlock
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError

T = TypeVar("T")

START_LIMIT_SECONDS = 120.0
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def one_host(
    work: Path,
    guest_work: Path,
    say: Callable[[str], None],
    *,
    with_vm: bool,
    extra_config: str = "",
    drop_in: str = "",
) -> Iterator[Host]:
    """Build and start a host; leave nothing running, and its logs in `work`.

    `extra_config` is for sections that the demo does not write, `drop_in` for those that it does.
    Without the VM the cluster is in global maintenance from the beginning.
    """
    with (
        # UNIX socket paths are at most 107 bytes long, and a checkout may lie deep.
        tempfile.TemporaryDirectory(prefix="ha-bench-") as folder,
        contextlib.ExitStack() as stack,
    ):
        storage = work / "storage"
        shutil.rmtree(storage, ignore_errors=True)
        storage.mkdir(parents=True)
        guest = build_guest(guest_work, image=work / "guest.img", progress=say)
        domain = make_domain(storage, guest)
        if not with_vm:
            with status_volume(domain).open("r+b") as file:
                file.write(block_codec.encode_global(GlobalBlock(True)))
        host = Host(1, Path(folder) / "host1", domain, free_port(), extra_config)
        host.write_config("auto")
        if drop_in:
            folder_of_drop_ins = Path(f"{host.config}.d")
            folder_of_drop_ins.mkdir()
            (folder_of_drop_ins / "bench.conf").write_text(drop_in)
        stack.callback(_keep_logs, host, work / "logs")
        stack.callback(host.stop)
        host.start()
        state = "EngineUp" if with_vm else "GlobalMaintenance"
        wait(
            lambda: snapshot(host, state),
            START_LIMIT_SECONDS,
            f"the host has not come to {state}",
        )
        yield host


def status_volume(domain: DemoDomain) -> Path:
    """Return the path of the status volume."""
    return domain.path / "images" / domain.status_image / domain.status_volume


def socket_of(host: Host) -> Path:
    """Return the path of the operators' socket."""
    return host.folder / "run" / "broker.socket"


def snapshot(host: Host, state: str = "") -> Optional[Snapshot]:
    """Return what the broker tells; None while it does not, or the agent is in no such state."""
    try:
        answer = rpc_call.call_once(
            str(socket_of(host)), "status", {}, CALL_DEADLINE_SECONDS, clock=SystemClock()
        )
    except HaAgentError:
        return None
    found = from_wire(Snapshot, answer, where="broker.status")
    return found if state in ("", found.agent.state) else None


def wait(look: Callable[[], Optional[T]], limit_seconds: float, missing: str) -> T:
    """Return what `look` finds. Raises NotMeasured after `limit_seconds`."""
    return wait_for(look, limit_seconds, missing, error=NotMeasured, poll_seconds=_POLL_SECONDS)


def _keep_logs(host: Host, logs: Path) -> None:
    shutil.rmtree(logs, ignore_errors=True)
    (logs / host.name).mkdir(parents=True)
    for log in host.folder.glob("*.log"):
        shutil.copy(log, logs / host.name)
