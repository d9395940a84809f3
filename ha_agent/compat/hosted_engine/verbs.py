# SPDX-License-Identifier: Apache-2.0
"""The verbs of `hosted-engine`, one declaration each; nothing is decided here.

The names, options, texts that scripts read and exit codes are the predecessor's
(facts/predecessor-and-peers.md, section 2). `differs` says where we do else, and why.
"""

from __future__ import annotations

from ha_agent.compat.hosted_engine import (
    console,
    deployed,
    maintenance,
    shared_keys,
    status,
    storage,
    vm,
)
from ha_agent.compat.hosted_engine.declare import Option, Verb

_MODES = ("global", "local", "none")
_WAIT = "wait until {}; --timeout bounds it"
_ONE = (1, "it could not be done; stderr says why")
_ORDERED = (
    "Only under global maintenance: outside of it the agents decide, and would undo it at once.",
    "It is an order for this host's agent, which holds the ownership lease before it starts the"
    " VM; the predecessor went around its agents.",
)
_FILE_TYPE = Option(
    "--type", "the file, where more than one has the key", choices=shared_keys.TYPES
)
_DEPLOY = Verb(
    "--deploy",
    deployed.deploy,
    "run the deployment of the hosted engine",
    "Becomes `ha-agent deploy`; further options are passed on to it.",
    ((1, "an option that is not supported"), (0, "and others: those of `ha-agent deploy`")),
    options=(
        Option("--config-append", "load answers from this file", metavar="FILE"),
        Option("--generate-answer", "not supported", metavar="FILE"),
        Option("--restore-from-file", "not supported", metavar="FILE"),
        Option("--4", "not supported"),
        Option("--6", "not supported"),
        Option("--ansible-extra-vars", "not supported", metavar="DATA"),
    ),
    differs=(
        "No ansible runs and no local VM is made: the engine VM's definition and disk are given.",
        "--config-append=FILE is `ha-agent deploy --answers FILE`; every other option of the"
        " predecessor is refused by name.",
    ),
    only_deployed=False,
    passes_on=True,
)
_VMS = (
    Verb(
        "--vm-start",
        vm.vm_start,
        "start the engine VM on this host",
        'Prints "VM in WaitForLaunch" when it is started. A paused VM is ended first.',
        ((0, "started"), (1, "it exists already, or failed to launch")),
        options=(
            Option("--vm-conf", "not supported: see below", metavar="FILE"),
            Option("--wait", _WAIT.format("the engine is up"), ours=True),
        ),
        timeout_seconds=vm.ORDER_SECONDS,
        wait_seconds=vm.START_AND_WAIT_SECONDS,
        differs=(
            *_ORDERED,
            "--vm-conf=FILE is refused: no VM is started from a definition that the other hosts"
            " do not have. `ha-agent ovf translate --to ovf FILE > engine.ovf` makes an OVF of"
            " it; `ha-agent store put engine.ovf` has the guard check it, and all hosts use it.",
        ),
    ),
    Verb(
        "--vm-start-paused",
        vm.vm_start_paused,
        "start the engine VM on this host with qemu paused",
        "`ha-agent vm resume` lets it go on.",
        ((0, "started, paused"), (1, "it exists already, or failed to launch")),
        timeout_seconds=vm.ORDER_SECONDS,
        differs=_ORDERED,
    ),
    Verb(
        "--vm-shutdown",
        vm.vm_shutdown,
        "gracefully shut down the engine VM on this host",
        "Answers when the VM is down.",
        ((0, "the VM is down"), _ONE),
        timeout_seconds=vm.ORDER_SECONDS,
        differs=(*_ORDERED, "It waits for the end; the predecessor only asked for it."),
    ),
    Verb(
        "--vm-poweroff",
        vm.vm_poweroff,
        "forcefully power off the engine VM on this host",
        "As by pulling the plug: what the guest has not written is lost.",
        ((0, "the VM is off"), _ONE),
        timeout_seconds=vm.ORDER_SECONDS,
        differs=_ORDERED,
    ),
    Verb(
        "--vm-status",
        status.vm_status,
        "engine VM and hosts according to the HA agents",
        "With --json stdout is one JSON object, an error included.",
        (
            (0, "printed"),
            (1, "no daemon, no host record (text only), or not deployed"),
            (2, "not deployed, and a deployment's own VM is there"),
        ),
        options=(
            Option("--json", "machine-readable"),
            Option("--watch", "again after each change, until interrupted", ours=True),
            Option("--wait", _WAIT.format("the engine is up"), ours=True),
        ),
        timeout_seconds=10.0,
        wait_seconds=vm.START_AND_WAIT_SECONDS,
        differs=(
            'An error with --json is {"error": {"code", "message"}}; it was a traceback.',
            'A host without fresh data has vm and health "unknown" in the JSON, too, and its'
            ' last vm only in the reason; it was shown as it had been, with the engine "up".',
            "The host that runs the engine healthy comes first in the JSON, because set-up reads"
            " the first one.",
            "A record without an engine status is told as unknown; it was a traceback.",
            "It does not wait for the VM's definition, and never waits longer than --timeout.",
        ),
        only_deployed=False,
    ),
    Verb(
        "--add-console-password",
        vm.add_console_password,
        "create a temporary password for the VNC or SPICE console",
        "It counts for 120 s. Without --password it is taken from the environment variable"
        f" {vm.PASSWORD_VARIABLE}, and else asked for at the terminal.",
        ((0, "the console takes it"), _ONE),
        options=(
            Option("--password", "the password; all users of the host can see it", metavar="P"),
            Option("--spice", "for a SPICE console, not VNC", ours=True),
        ),
        timeout_seconds=vm.VDSM_SECONDS,
        differs=(
            "VNC takes 8 bytes of a password and drops the rest, so a longer one is refused.",
            "The password goes to the broker over its socket, on no other command line.",
        ),
    ),
    Verb(
        "--console",
        console.console,
        "open the serial console of the engine VM",
        "Only on the host where the VM runs. Becomes virsh, or socat, which ^] leaves.",
        ((1, "the VM is not here"), (0, "and others: those of the program")),
        timeout_seconds=10.0,
        differs=("Where the VM is not here it ends with 1; it was 0.",),
    ),
)
_OTHERS = (
    Verb(
        "--check-deployed",
        deployed.check_deployed,
        "tell whether the hosted engine has been deployed",
        "Looks for vmid in hosted-engine.conf, and for our own configuration.",
        ((0, "deployed"), (1, "not deployed")),
        only_deployed=False,
    ),
    Verb(
        "--check-liveliness",
        deployed.check_liveliness,
        "check the liveliness page of the engine",
        "Asks the engine's health page from this host.",
        ((0, "up"), (1, "not up"), (2, "it is not known where the engine is")),
        options=(Option("--wait", _WAIT.format("it is up"), ours=True),),
        timeout_seconds=deployed.LIVELINESS_SECONDS,
        wait_seconds=vm.START_AND_WAIT_SECONDS,
        differs=("What the page said, or why it could not be read, is on stderr.",),
        only_deployed=False,
    ),
    Verb(
        "--connect-storage",
        storage.connect_storage,
        "connect the hosted engine's storage domain",
        "This host's VDSM connects it.",
        ((0, "connected"), _ONE),
        timeout_seconds=storage.CONNECT_SECONDS,
    ),
    Verb(
        "--disconnect-storage",
        storage.disconnect_storage,
        "disconnect the hosted engine's storage domain",
        "Only in local maintenance, and with no VM on this host.",
        ((0, "disconnected"), _ONE),
        timeout_seconds=storage.CONNECT_SECONDS,
        differs=("It is refused while a VM may have its disk there.",),
    ),
    Verb(
        "--set-maintenance",
        maintenance.set_maintenance,
        "set the maintenance mode: global, local or none",
        "local is refused while the engine VM is on this host. Each mode ends the others.",
        ((0, "set, and read back from storage"), _ONE),
        options=(
            Option("--mode", "the mode; none clears all", choices=_MODES),
            Option("--wait", "wait until the agents have done what follows from it", ours=True),
        ),
        timeout_seconds=maintenance.SET_SECONDS,
        wait_seconds=maintenance.WAIT_SECONDS,
        differs=(
            "It answers when storage has been read back and says so; it could be lost.",
            "local leaves a shutdown of the whole cluster in force.",
        ),
    ),
    Verb(
        "--set-shared-config",
        shared_keys.set_shared_config,
        "set a key of the shared configuration",
        "he_shared is used by hosts that are (re)deployed later; he_local is this host's file.",
        ((0, "set"), _ONE),
        operands=(("key", "a key to set"), ("value", "a new value to set")),
        options=(_FILE_TYPE,),
        timeout_seconds=shared_keys.SET_SECONDS,
        differs=("Two hosts at once do not undo each other; the volume is changed atomically.",),
    ),
    Verb(
        "--get-shared-config",
        shared_keys.get_shared_config,
        "print a key of the shared configuration",
        'Prints "KEY : VALUE, type : TYPE".',
        ((0, "printed"), _ONE),
        operands=(("key", "a key to get"),),
        options=(_FILE_TYPE,),
        timeout_seconds=shared_keys.GET_SECONDS,
    ),
    Verb(
        "--reinitialize-lockspace",
        storage.reinitialize_lockspace,
        "make the lockspace, or lock file, anew where it can't be used",
        "Wants global maintenance, and all agents stopped.",
        ((0, "made anew, or nothing was wrong with it"), _ONE),
        options=(Option("--force", "without looking at global maintenance and agents"),),
        timeout_seconds=storage.LOCKSPACE_SECONDS,
        differs=(
            "A lockspace that is in order stays as it is. What is broken is made anew once every"
            " host id in it is proved free or expired, which may take minutes; --force does not"
            " switch that off.",
            "A refusal and an error end with 1, they ended with 0.",
            "A host that is gone does not count as an active agent.",
        ),
    ),
    Verb(
        "--clean-metadata",
        storage.clean_metadata,
        "have all hosts forget a host",
        "Removes a host's record from the status volume, if its host id is free or expired.",
        (
            (0, "removed, or there was none"),
            (1, "refused, or it could not be done"),
            (254, "the broker does not answer"),
            (255, "this host is not configured"),
        ),
        options=(
            Option("--force-cleanup", "taken, but a host id in use stays in use"),
            Option("--host-id", "which host; this one by default", metavar="N", number=True),
        ),
        timeout_seconds=storage.REMOVE_SECONDS,
        differs=(
            "A refusal ends with 1; it was 0, and named an option that did not exist.",
            "No force is needed for a host whose id has expired, and none helps against one that"
            " has not.",
            "This host's own record is not removed here: `ha-agent leave` does that.",
        ),
        aliases=("--clean_metadata",),
    ),
)

VERBS = (_DEPLOY, *_VMS, *_OTHERS)
BY_NAME = {name: verb for verb in VERBS for name in (verb.name, *verb.aliases)}
