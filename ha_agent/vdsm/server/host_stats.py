# SPDX-License-Identifier: Apache-2.0
"""This host's figures in VDSM's shapes, from /proc, /sys and DMI. No shared storage.

As in VDSM, links and the use of processors come from samples, one each 15 s: `network` is absent
from Host.getStats until there are two (facts 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ha_agent.instant import WallTime
from ha_agent.vdsm.qemu.placement import QemuBinary

SAMPLE_INTERVAL_SECONDS = 15.0
_DMI = Path("/sys/class/dmi/id")
_MEMORY_KEYS = ("MemFree", "Cached", "Buffers", "SReclaimable")


def memory_kib(meminfo: str) -> dict[str, int]:
    """Read /proc/meminfo's lines "Name:  123 kB"."""
    values: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        parts = rest.split()
        if parts and parts[0].isdecimal():
            values[name] = int(parts[0])
    return values


def cpu_ticks(stat: str) -> tuple[int, ...]:
    """Read the first line of /proc/stat: ticks of all CPUs by kind."""
    return tuple(int(field) for field in stat.splitlines()[0].split()[1:9])


def cpu_use(before: tuple[int, ...], after: tuple[int, ...]) -> dict[str, float]:
    """Return user, system and idle between two samples, in percent of all CPUs."""
    spent = [max(0, new - old) for new, old in zip(after, before)]
    total = sum(spent) or 1
    return {
        "user": 100.0 * (spent[0] + spent[1]) / total,
        "system": 100.0 * (sum(spent) - sum(spent[:2]) - spent[3] - spent[4]) / total,
        "idle": 100.0 * (spent[3] + spent[4]) / total,
    }


class HostSamples:
    """The last two samples. `start` begins to take them, `stop` ends that."""

    def __init__(self, interval_seconds: float = SAMPLE_INTERVAL_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._samples: list[tuple[int, ...]] = []
        self._task: Optional[asyncio.Task[None]] = None

    @property
    def are_enough(self) -> bool:
        """Whether there are two."""
        return len(self._samples) == 2

    def use(self) -> dict[str, float]:
        """Return user, system and idle in percent; all idle without two samples, as VDSM says."""
        if not self.are_enough:
            return {"user": 0.0, "system": 0.0, "idle": 100.0}
        return cpu_use(*self._samples)

    def start(self) -> None:
        """Take samples from now on, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._take())

    async def stop(self) -> None:
        """Take no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _take(self) -> None:
        while True:
            ticks = cpu_ticks(Path("/proc/stat").read_text())
            self._samples = [*self._samples[-1:], ticks]
            await asyncio.sleep(self._interval_seconds)


def network_stats(networks: Mapping[str, str], sys_net: Path) -> dict[str, dict[str, Any]]:
    """Return Host.getStats' `network`: the interfaces, and the networks VMs can be on.

    A network over a bridge has its bridge's state; one inside QEMU (user) is always up.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(os.listdir(sys_net)) if sys_net.is_dir() else []:
        if (sys_net / name / "operstate").exists():
            found[name] = _interface(sys_net / name)
    for network, value in networks.items():
        kind, _, options = value.partition(",")
        fields = dict(option.partition("=")[::2] for option in options.split(","))
        below = {"bridge": fields.get("br", "br0"), "tap": fields.get("ifname", "")}.get(kind)
        if network in found:
            continue
        if below is None:
            found[network] = {**_NO_TRAFFIC, "name": network, "state": "up"}
        else:
            state = found[below]["state"] if below in found else "down"
            found[network] = {
                **_NO_TRAFFIC,
                **found.get(below, {}),
                "name": network,
                "state": state,
            }
    return found


_NO_TRAFFIC = {"speed": 1000, "rx": "0", "tx": "0", "rxErrors": "0", "txErrors": "0"}


def _interface(path: Path) -> dict[str, Any]:
    state = _read(path / "operstate")
    speed = _read(path / "speed")
    return {
        "name": path.name,
        # A bridge without carrier says "down", lo and many tap devices say "unknown".
        "state": "up" if state in ("up", "unknown") else "down",
        "speed": int(speed) if speed.isdecimal() else 1000,
        "rx": _read(path / "statistics" / "rx_bytes") or "0",
        "tx": _read(path / "statistics" / "tx_bytes") or "0",
        "rxErrors": _read(path / "statistics" / "rx_errors") or "0",
        "txErrors": _read(path / "statistics" / "tx_errors") or "0",
    }


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def host_stats(
    samples: HostSamples, networks: Mapping[str, str], wall: WallTime
) -> dict[str, Any]:
    """Return Host.getStats but for VMs and storage domains."""
    memory = memory_kib(Path("/proc/meminfo").read_text())
    use = samples.use()
    moment = datetime.datetime.fromtimestamp(wall.unix_seconds, datetime.timezone.utc)
    free_kib = sum(memory.get(key, 0) for key in _MEMORY_KEYS)
    total_kib = memory.get("MemTotal", 0) or 1
    network = network_stats(networks, Path("/sys/class/net")) if samples.are_enough else None
    return {
        "memFree": free_kib // 1024,
        "memAvailable": memory.get("MemAvailable", 0) // 1024,
        "memCommitted": 0,
        "memUsed": str(100 * max(0, total_kib - free_kib) // total_kib),
        "swapTotal": memory.get("SwapTotal", 0) // 1024,
        "swapFree": memory.get("SwapFree", 0) // 1024,
        "cpuLoad": f"{os.getloadavg()[0]:.2f}",
        "cpuUser": f"{use['user']:.2f}",
        "cpuSys": f"{use['system']:.2f}",
        "cpuSysVdsmd": "0.00",
        "cpuUserVdsmd": "0.00",
        "cpuIdle": f"{use['idle']:.2f}",
        "elapsedTime": _read(Path("/proc/uptime")).partition(".")[0],
        "dateTime": f"{moment:%Y-%m-%dT%H:%M:%S} GMT",
        **({"network": network} if network is not None else {}),
        "netConfigDirty": "False",
        "ksmState": False,
        "momStatus": "inactive",
        "generationID": "",
    }


def cpu_model(cpuinfo: str) -> str:
    """Return the name of the first CPU that /proc/cpuinfo tells of, "" when it tells of none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""


def capabilities(networks: Mapping[str, str], qemu: QemuBinary, kvm: bool) -> dict[str, Any]:
    """Return the part of Host.getCapabilities that this VDSM can answer truly."""
    memory = memory_kib(Path("/proc/meminfo").read_text())
    host_id = _read(Path("/etc/machine-id"))
    return {
        "uuid": f"{host_id[:8]}-{host_id[8:12]}-{host_id[12:16]}-{host_id[16:20]}-{host_id[20:]}",
        "hostname": platform.node(),
        "kvmEnabled": "true" if kvm else "false",
        "memSize": str(memory.get("MemTotal", 0) // 1024),
        "cpuThreads": str(os.cpu_count() or 1),
        "cpuModel": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cpuFlags": ",".join(f"model_{model}" for model in sorted(qemu.cpu_models)),
        "emulatedMachines": sorted(qemu.machines),
        "networks": {
            network: {"iface": network, "bridged": value.startswith("bridge"), "addr": ""}
            for network, value in networks.items()
        },
        "kernelArgs": _read(Path("/proc/cmdline")),
        "packages2": {"kernel": {"version": platform.release(), "release": ""}},
        "software_version": "4.5",
        "supportedENGINEs": ["4.5"],
        "vmTypes": ["kvm"],
    }


def hardware_info() -> dict[str, str]:
    """Return Host.getHardwareInfo: what DMI says of the machine, and what it keeps to itself as
    empty texts. The names are the schema's (vdsm's lib/vdsm/api/vdsm-api.yml).
    """
    return {
        "systemManufacturer": _read(_DMI / "sys_vendor"),
        "systemProductName": _read(_DMI / "product_name"),
        "systemVersion": _read(_DMI / "product_version"),
        "systemSerialNumber": _read(_DMI / "product_serial"),
        "systemUUID": _read(_DMI / "product_uuid"),
        "systemFamily": _read(_DMI / "product_family"),
    }
