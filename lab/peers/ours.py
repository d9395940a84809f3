# SPDX-License-Identifier: Apache-2.0
"""Three lab hosts as `make lab` has them: our packages, set up by `ha-agent deploy` and `join`,
with the shipped defaults. Implements side.Side."""

from __future__ import annotations

from typing import Optional

from lab.case import SETTLE_SECONDS
from lab.cluster import Choices, LabCluster, Say
from lab.observer import Observer
from lab.packages import built_packages
from lab.peers.side import OURS, observer_of
from lab.plan import LabPlan
from lab.ports import LabError
from lab.view import NotSo, View


class OurSide:
    """One cluster, from nothing to `remove`."""

    def __init__(self, plan: LabPlan, say: Say) -> None:
        self.name = OURS
        self.cluster = LabCluster(plan, Choices(), say)
        self._observer: Optional[Observer] = None

    @property
    def observer(self) -> Observer:
        """Who looks on. Raises LabError before `start`."""
        if self._observer is None:
            raise LabError(f"{self.name}: nobody looks on yet")
        return self._observer

    def start(self) -> None:
        """Make, install and set up. Raises LabError."""
        self.cluster.make()
        self.cluster.install()
        self.cluster.set_up()
        self._observer = observer_of(self.cluster)
        self._observer.start()

    def settle(self) -> str:
        """Wait until all is well, and return the host with the VM. Raises LabError."""
        view = View(self.cluster.hosts, self.observer.qemus.running)
        try:
            return view.settle(SETTLE_SECONDS)
        except NotSo as error:
            raise LabError(f"{self.name}: {error}") from None

    def versions(self) -> dict[str, str]:
        """Return package -> version of what runs. Raises LabError."""
        return {package.name: package.version for package in built_packages()}

    def remove(self) -> None:
        """Leave nothing of it running or mounted."""
        if self._observer is not None:
            self._observer.stop()
        self.cluster.remove()
