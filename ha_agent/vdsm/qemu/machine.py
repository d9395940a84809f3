# SPDX-License-Identifier: Apache-2.0
"""The machine of a VM's command line: chip set, firmware, memory, CPUs, clock, SMBIOS. Pure.

qemu/arguments.py owns the decisions and their reasons.
"""

from __future__ import annotations

from ha_agent.vdsm.domain.model import Cpu, Domain
from ha_agent.vdsm.qemu.placement import (
    Placement,
    QemuBinary,
    UnsupportedDevice,
    blockdev,
    escape,
)

_SMBIOS_FIELDS = ("manufacturer", "product", "version", "serial", "uuid", "sku", "family")
_PM_DEVICES = {True: "ICH9-LPC", False: "PIIX4_PM"}
_SLEEP_STATES = {"mem": "disable_s3", "disk": "disable_s4"}


class MachineArguments:
    """Makes the arguments; `notes` say what differs from the definition."""

    def __init__(self, domain: Domain, qemu: QemuBinary, placement: Placement) -> None:
        self.notes: list[str] = []
        self._domain = domain
        self._tuning = domain.tuning
        self._qemu = qemu
        self._placement = placement
        self.machine = self._choose_machine()
        self.is_q35 = "q35" in self.machine

    def arguments(self) -> list[str]:
        """Return them. Raises UnsupportedDevice, BadInput."""
        memory = self._memory()
        return [
            *self._machine(),
            *memory,
            *("-smp", self._smp()),
            *("-cpu", self._cpu_model(self._domain.cpu)),
            *self._smbios(),
            *self._clock(),
            *self._boot(),
            *self._io_threads(),
        ]

    def _choose_machine(self) -> str:
        wanted = self._domain.machine
        if wanted in self._qemu.machines:
            return wanted
        if wanted and not wanted.startswith(("pc", "q35")):
            raise UnsupportedDevice(f"machine type {wanted[:60]!r} is not supported")
        machine = "q35" if "q35" in wanted else "pc"
        self.notes.append(
            f"machine type {wanted or '(none)'} is not in this QEMU, {machine} is used"
        )
        return machine

    def _machine(self) -> list[str]:
        domain, tuning, placement = self._domain, self._tuning, self._placement
        options = f"{self.machine},usb=off,dump-guest-core=off"
        blocks: list[str] = []
        if domain.loader:
            if not placement.firmware:
                raise UnsupportedDevice(f"UEFI firmware {domain.loader} is not on this host")
            blocks = _pflash("pflash0", placement.firmware, read_only=True)
            options += ",pflash0=pflash0"
            if placement.nvram:
                blocks += _pflash("pflash1", placement.nvram, read_only=False)
                options += ",pflash1=pflash1"
            else:
                self.notes.append("UEFI variables are not kept: no template of them is here")
        if domain.secure_boot or (tuning.has_smm and self.is_q35):
            options += ",smm=on"
        if domain.secure_boot:
            blocks += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        if not tuning.has_acpi:
            options += ",acpi=off"
        if any(name == "hpet" and present == "no" for name, _, present in tuning.timers):
            options += ",hpet=off"
        if tuning.has_serial_bios:
            # The BIOS then writes to the serial port; the screen of the system is not touched.
            options += ",graphics=off"
        for state in tuning.no_sleep:
            device = _PM_DEVICES[self.is_q35]
            blocks += ["-global", f"{device}.{_SLEEP_STATES[state]}=1"]
        if self._pages_fit() and not self._cells_fit():
            options += ",memory-backend=ram"
        threads = ",thread=multi" if placement.accelerator == "tcg" else ""
        return [*blocks, "-machine", options, "-accel", placement.accelerator + threads]

    # Memory

    def _memory(self) -> list[str]:
        domain, tuning = self._domain, self._tuning
        size = f"size={domain.memory_mib}M"
        if tuning.max_memory_mib > domain.memory_mib and tuning.memory_slots:
            size += f",slots={tuning.memory_slots},maxmem={tuning.max_memory_mib}M"
        arguments = ["-m", size]
        if tuning.memory_now_mib not in (0, domain.memory_mib):
            self.notes.append(
                f"the VM has all of its memory at once, not {tuning.memory_now_mib} MiB of it"
            )
        if tuning.huge_page_kib and not self._pages_fit():
            self.notes.append(
                f"no huge pages: this host has too few free ones of {tuning.huge_page_kib} KiB"
            )
        if self._cells_fit():
            for cell in tuning.cells:
                name = f"ram{cell.cell_id}"
                arguments += ["-object", self._backend(name, cell.memory_mib, cell.is_shared)]
                cpus = "".join(f",cpus={part}" for part in filter(None, cell.cpus.split(",")))
                arguments += ["-numa", f"node,nodeid={cell.cell_id}{cpus},memdev={name}"]
            return arguments
        if tuning.cells:
            self.notes.append(
                f"{len(tuning.cells)} NUMA cells are merged into one: they are not the VM's memory"
            )
        if self._pages_fit():
            arguments += ["-object", self._backend("ram", domain.memory_mib, False)]
        return arguments

    def _cells_fit(self) -> bool:
        cells = self._tuning.cells
        return bool(cells) and sum(cell.memory_mib for cell in cells) == self._domain.memory_mib

    def _pages_fit(self) -> bool:
        page_kib = self._tuning.huge_page_kib
        if not page_kib:
            return False
        free = self._placement.free_huge_pages.get(page_kib, 0)
        return free * page_kib >= self._domain.memory_mib * 1024

    def _backend(self, name: str, size_mib: int, is_shared: bool) -> str:
        share = f"share={'on' if is_shared else 'off'}"
        if self._pages_fit():
            pages = f"hugetlb=on,hugetlbsize={self._tuning.huge_page_kib}K,prealloc=on"
            return f"memory-backend-memfd,id={name},size={size_mib}M,{pages},{share}"
        return f"memory-backend-ram,id={name},size={size_mib}M,{share}"

    # CPUs

    def _smp(self) -> str:
        domain, cpu = self._domain, self._domain.cpu
        count = f"{domain.vcpus},maxcpus={domain.max_vcpus}"
        if self._tuning.pinned_cpus:
            pins = ", ".join(f"{vcpu} to {cpus}" for vcpu, cpus in self._tuning.pinned_cpus)
            self.notes.append(f"virtual CPUs are not pinned to those of this host: {pins}")
        if cpu.sockets * cpu.cores * cpu.threads == domain.max_vcpus:
            return count + f",sockets={cpu.sockets},cores={cpu.cores},threads={cpu.threads}"
        if cpu.sockets:
            self.notes.append("the CPU topology does not give the number of vCPUs and is not used")
        return count

    def _cpu_model(self, cpu: Cpu) -> str:
        if cpu.mode in ("host-passthrough", "host-model"):
            model = "host" if self._placement.accelerator == "kvm" else "max"
        elif not cpu.model:
            model = "max"
        elif cpu.model in self._qemu.cpu_models:
            model = cpu.model
        else:
            model = "max"
            self.notes.append(f"CPU model {cpu.model} is not in this QEMU, max is used")
        for policy, name in cpu.features:
            if name not in self._qemu.cpu_flags:
                self.notes.append(f"CPU feature {name} is not in this QEMU")
            elif policy in ("require", "force"):
                model += f",{name}=on"
            elif policy in ("disable", "forbid"):
                model += f",{name}=off"
        return model

    # The rest

    def _smbios(self) -> list[str]:
        said = []
        for name, value in self._tuning.smbios:
            text = self._placement.smbios.get(value, value)
            if name not in _SMBIOS_FIELDS:
                self.notes.append(f"SMBIOS entry {name[:40]!r} is left out")
            elif text:
                said.append(f"{name}={escape(text)}")
        return ["-smbios", ",".join(["type=1", *said])] if said else []

    def _clock(self) -> list[str]:
        policies = {name: policy for name, policy, _ in self._tuning.timers}
        drift = ",driftfix=slew" if policies.get("rtc", "catchup") == "catchup" else ""
        if self._tuning.clock_seconds:
            self.notes.append(
                f"the VM's clock starts in UTC, not {self._tuning.clock_seconds} s from it"
            )
        arguments = ["-rtc", f"base=utc{drift}"]
        if policies.get("pit") == "delay" and self._placement.accelerator == "kvm":
            arguments += ["-global", "kvm-pit.lost_tick_policy=delay"]
        return arguments

    def _boot(self) -> list[str]:
        tuning = self._tuning
        menu = "off"
        if self._domain.boot_menu:
            menu = "on" + (f",splash-time={tuning.boot_menu_ms}" if tuning.boot_menu_ms else "")
        arguments = ["-boot", f"strict=on,menu={menu}"]
        for option, value in (
            ("-kernel", tuning.kernel),
            ("-initrd", tuning.initrd if tuning.kernel else ""),
            ("-append", tuning.kernel_arguments if tuning.kernel else ""),
        ):
            if value:
                arguments += [option, value]
        return arguments

    def _io_threads(self) -> list[str]:
        names = [f"iothread{number + 1}" for number in range(self._tuning.io_threads)]
        return [part for name in names for part in ("-object", f"iothread,id={name}")]


def _pflash(node: str, path: str, read_only: bool) -> list[str]:
    image = {"driver": "file", "filename": path, "read-only": read_only}
    return blockdev({"driver": "raw", "node-name": node, "read-only": read_only, "file": image})
