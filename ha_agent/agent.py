# SPDX-License-Identifier: Apache-2.0
"""The agent's process: build from configuration, loop, signals, stop.

It touches no shared storage (the broker does) and waits for nothing without a deadline. Three
small tasks bring answers to the cycle, each waking the tick; the tick itself feeds systemd's
watchdog, so a stuck loop is a dead agent to systemd, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from ha_agent import hypervisor, maintenance_file
from ha_agent.broker.rpc.client import RpcClient
from ha_agent.broker_port import SocketBroker
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.config.schema import Config
from ha_agent.cycle import Cycle, CycleTimes
from ha_agent.decision_file import FOLDER_NAME, DecisionRing, Recorder
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.feed import Feed
from ha_agent.file_watch import FileWatch
from ha_agent.fsm.machine import Decision
from ha_agent.fsm.policy import Hysteresis, Policy, ScoreWeights
from ha_agent.fsm.state import State
from ha_agent.journal_messages import (
    CONFIG_REFUSED,
    CONFIG_TAKEN,
    DAEMON_STARTED,
    DAEMON_STOPPED,
)
from ha_agent.log import fields
from ha_agent.loop_watch import LoopWatch
from ha_agent.perform import Performer
from ha_agent.readiness import Readiness
from ha_agent.reload import Reload, begin_anew, refuse_other
from ha_agent.waiting import Signal

log = logging.getLogger(__name__)

_STOP_DEADLINE_SECONDS = 3.0
_SHORTEST_PAUSE_SECONDS = 0.001
LOCK_NAME = "agent.lock"


def policy_of(config: Config) -> Policy:
    """Return the settings that decisions depend on."""
    score = config.score
    return Policy(
        start_timeout_seconds=config.engine.start_timeout_seconds,
        bad_health_grace_seconds=config.engine.bad_health_grace_seconds,
        stop_timeout_seconds=config.engine.stop_timeout_seconds,
        takeover_step_seconds=config.lease.takeover_step_seconds,
        restart_backoff_seconds=config.restart.backoff_seconds,
        restart_window_seconds=config.restart.window_seconds,
        unexpected_down_seconds=config.restart.unexpected_down_seconds,
        weights=ScoreWeights(
            base=score.base,
            network=score.network,
            cpu_load=score.cpu_load,
            bridge=score.bridge,
            memory=score.memory,
            stale_definition=score.stale_definition,
            retry=score.retry,
            cpu_load_low=score.cpu_load_low,
            cpu_load_high=score.cpu_load_high,
        ),
        hysteresis=Hysteresis(
            samples_needed=score.samples_needed,
            samples_kept=score.samples_kept,
            residency_seconds=score.residency_seconds,
            network_enter=score.network_enter,
            network_leave=score.network_leave,
            cpu_load_leave=score.cpu_load_leave,
        ),
    )


class Agent:
    """One host's agent."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._clock = SystemClock()
        # The broker makes it, too; but what is watched has to be there from the start.
        _make_folder(config.host.state_dir)
        self._readiness = Readiness()
        self._wake = Signal()
        self._look_again = Signal()
        self._hypervisor = hypervisor.chosen(config, self._clock, self._look_again.set)
        rpc = RpcClient(
            str(config.broker.socket),
            call_deadline_seconds=config.broker.call_deadline_seconds,
        )
        self._broker = SocketBroker(rpc, lease_deadline_seconds=config.lease.lease_expiry_seconds)
        self._rpc = rpc
        self._told_to_stop = False
        self.reload = Reload(self._check_files, self._readiness, self._wake.set)
        self._decisions = Recorder(DecisionRing(config.host.state_dir / FOLDER_NAME))
        self.cycle = Cycle(
            config.host.id,
            policy_of(config),
            self._clock,
            self._broker,
            Performer(self._broker, self._hypervisor.port),
            times=CycleTimes(
                publish_interval_seconds=config.status.publish_interval_seconds,
                vm_max_age_seconds=self._hypervisor.poll_interval_seconds
                + self._hypervisor.look_deadline_seconds,
            ),
            hypervisor_name=self._hypervisor.name,
            wake=self._wake.set,
            on_decision=lambda step: self._decisions.record(step, self._clock.wall()),
        )
        self._feed = Feed(
            self.cycle,
            self._broker,
            self._hypervisor.port,
            self._clock,
            look_again=self._look_again,
            poll_interval_seconds=self._hypervisor.poll_interval_seconds,
            hypervisor_name=self._hypervisor.name,
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, or a reload; the engine VM is left as it is."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self.reload.listen()
        maintenance = self._config.host.state_dir / maintenance_file.FILE_NAME
        predecessors = self._config.predecessor_ha_conf
        if predecessors is not None and maintenance_file.take_over(maintenance, predecessors):
            log.info("%s made from %s", maintenance, predecessors)
        files = [maintenance, *self._config.files]
        watch = FileWatch(
            files,
            self._file_changed,
            poll_interval_seconds=self._config.agent.file_poll_interval_seconds,
            folders=self._config.folders,
        )
        self._read_maintenance(maintenance)
        for note in self._config.notes:
            log.warning("configuration: %s", note)
        log.info("agent of host %d begins", self._config.host.id, extra=fields(DAEMON_STARTED))
        self._decisions.start()
        self._hypervisor.start()
        tasks = [
            loop.create_task(task)
            for task in (
                self._feed.follow_broker(),
                *(follow() for follow in self._hypervisor.follow),
                self._feed.follow_vm(),
            )
        ]
        try:
            await self._tick_until_stopped(tasks)
        finally:
            if not self.begins_anew:
                self._readiness.stopping()
            told = fields(None if self.begins_anew else DAEMON_STOPPED)
            log.info("agent ends; the engine VM is left alone", extra=told)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            watch.close()
            await self.cycle.finish(_STOP_DEADLINE_SECONDS)
            await self._hypervisor.close()
            await self._rpc.close()
            self._decisions.stop()

    async def _tick_until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        interval_seconds = self._config.agent.tick_interval_seconds
        ready = False
        loop_watch = LoopWatch(self._clock, interval_seconds)
        while self.cycle.state is not State.AGENT_STOPPED:
            # An effect under way has its outcome first: who begins anew knows nothing of it. Peers
            # see no AgentStopped, as nothing stops.
            if self.begins_anew and self.cycle.memory.pending is None:
                return
            self._wake.clear()
            loop_watch.passed()
            decision = self.cycle.tick()
            self._readiness.watchdog()
            self._readiness.status(self._told(decision))
            if not ready:
                self._readiness.starting()
                if decision.state is not State.START:
                    self._readiness.ready()
                    ready = True
            for task in tasks:
                if task.done():
                    task.result()  # a bug in one of them ends the process, and systemd restarts it
            # A clock that stands still for a moment must not make this a busy loop.
            due_seconds = max(self.cycle.next_due_seconds, _SHORTEST_PAUSE_SECONDS)
            await self._wake.wait(min(interval_seconds, due_seconds))

    @property
    def begins_anew(self) -> bool:
        """Whether the end that is under way is a reload's. A stop goes before it."""
        return self.reload.asked and not self._told_to_stop

    def _stop(self) -> None:
        self._told_to_stop = True
        self.cycle.request_stop()

    def _told(self, decision: Decision) -> str:
        """Return the line for `systemctl status`."""
        told = f"{decision.state.value}, score {decision.score.points}"
        waits = "; ".join(self.cycle.waiting_for)
        return f"{told}; waiting for {waits}" if waits else told

    # Local files -------------------------------------------------------------------------

    def _check_files(self) -> None:
        refuse_other(self._config, layers.complete(layers.load(self._config.paths, os.environ)))

    def _file_changed(self, path: Path) -> None:
        if path.name == maintenance_file.FILE_NAME:
            self._read_maintenance(path)
            return
        try:
            config = layers.complete(layers.load(self._config.paths, os.environ))
        except BadInput as fault:
            text = "configuration changed, but can't be used; the old one stays: %s"
            log.error(text, fault, extra=fields(CONFIG_REFUSED, reason=fault))
            return
        self.cycle.on_policy(policy_of(config))
        log.info(
            "configuration changed: weights and timeouts of decisions are in use now; "
            "other keys need a restart of the agent",
            extra=fields(CONFIG_TAKEN),
        )

    def _read_maintenance(self, path: Path) -> None:
        try:
            self.cycle.on_local_maintenance(maintenance_file.read(path).active)
        except (BadInput, EnvironmentFault) as fault:
            log.error("local maintenance stays as it was: %s", fault)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def _only_agent(run_dir: Path) -> Iterator[None]:
    """Keep a second agent of this host out: both would act on the same VM.

    Raises EnvironmentFault that names the process which is there already.
    """
    path = run_dir / LOCK_NAME
    _make_folder(run_dir)
    try:
        lock = path.open("a+", encoding="ascii")
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(20).strip() or "unknown"
            raise EnvironmentFault(
                f"another agent of this host runs already, pid {holder} (lock on {path})"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def run(config: Config) -> int:
    """Run the agent until it is asked to stop; the process root behind `ha-agent run`. A reload
    does not return.

    Raises EnvironmentFault when it can't run here, ConfigError for a file it may not read.
    """
    layers.complete(config)

    async def main() -> bool:
        agent = Agent(config)
        await agent.run()
        return agent.begins_anew

    with _only_agent(config.host.run_dir):
        if asyncio.run(main()):
            begin_anew()
    return 0
