# SPDX-License-Identifier: Apache-2.0
"""The rules of DESIGN.md that a program can hold, one function a rule.

A rule takes one source file and yields "path:line: what is wrong"; it is run over the tree, and
over a sample that breaks it. To change a rule, change DESIGN.md, then the lists here.
"""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Callable, Union

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ha_agent", "haclient", "demo", "bench", "fuzz", "lab", "mutate", "tests")

MAX_FUNCTION_LINES = 70
MAX_MODULE_LINES = 400
# Rule 2 wants all edges of the state machine in one file, a row each; it holds no code else. So
# do the journal's messages.
LONG_TABLES = ("ha_agent/fsm/table.py", "ha_agent/journal_messages.py")

# Rule 1. What is named "*_codec", or "codec", is pure too.
PURE = (
    "ha_agent.fsm",
    "ha_agent.ovfstore",
    "ha_agent.broker.lease.rules",
    "ha_agent.broker.sanlock.place",
    "ha_agent.vdsm.stomp",
    "ha_agent.vdsm.jsonrpc",
    "ha_agent.vdsm.qemu.arguments",
    "ha_agent.observe",
    "ha_agent.journal_messages",
    # Values and arithmetic that those are built on.
    "ha_agent.broker.can_do",
    "ha_agent.broker.blocks.entry",
    "ha_agent.broker.blocks.lines",
    "ha_agent.broker.maintenance.order",
    "ha_agent.broker.timeline",
    "ha_agent.broker.incidents.incident",
    "ha_agent.broker.incidents.book",
    "ha_agent.broker.incidents.rules",
    "ha_agent.broker.incidents.share",
    "ha_agent.explain",
    "ha_agent.explain_text",
    "ha_agent.cut_off_text",
    "ha_agent.maintenance_text",
    "ha_agent.probe_text",
    "ha_agent.replay",
    "ha_agent.broker.push.entry",
    "ha_agent.broker.push.version",
    "ha_agent.broker.snapshot",
    "ha_agent.broker.api.error_codes",
    "ha_agent.broker.api.verb",
    "ha_agent.broker.api.definition_verbs",
    "ha_agent.compat.hosted_engine_conf",
    "ha_agent.engine.storage",
    "ha_agent.engine.views",
    "ha_agent.compat.ini_conf",
    "ha_agent.compat.legacy_document",
    "ha_agent.compat.legacy_keys",
    "ha_agent.compat.legacy_values",
    "ha_agent.vdsm.client.storage_server",
    "ha_agent.vdsm.errors",
    "ha_agent.vdsm.vm_status",
    "ha_agent.vdsm.client.vm_watch",
    "ha_agent.vdsm.domain.model",
    "ha_agent.vdsm.qemu.placement",
    "ha_agent.vdsm.domain.coverage",
    "ha_agent.vdsm.qemu.devices",
    "ha_agent.virt.status",
    "ha_agent.vdsm.qemu.disks",
    "ha_agent.vdsm.qemu.layout",
    "ha_agent.vdsm.qemu.machine",
)
NOT_PURE = ("ha_agent.ovfstore.volume_io", "ha_agent.ovfstore.history")
IMPURE_LIBRARIES = (
    "asyncio", "concurrent", "ctypes", "fcntl", "fileinput", "glob", "http", "io", "logging",
    "mmap", "multiprocessing", "os", "platform", "random", "resource", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time", "urllib.request",
)  # fmt: skip
IMPURE_CALLS = ("open", "print", "input", "exec", "eval", "__import__", "uuid4", "uuid1")
# A Path may be a value; these touch the disk.
PATH_CALLS = (
    "chmod", "exists", "expanduser", "glob", "is_dir", "is_file", "iterdir", "mkdir", "read_bytes",
    "read_text", "rename", "resolve", "rglob", "rmdir", "stat", "touch", "unlink", "write_bytes",
    "write_text",
)  # fmt: skip
# What a pure module may import of ours besides other pure modules.
PURE_VALUES = ("ha_agent.instant", "ha_agent.errors", "ha_agent.values")

# Rule 5: nothing in the first may import anything in the second.
NO_IMPORT = (
    ("ha_agent.ovfstore", ("ha_agent.vdsm", "ha_agent.broker", "ha_agent.fsm")),
    ("ha_agent.vdsm", ("ha_agent.ovfstore", "ha_agent.broker", "ha_agent.fsm", "ha_agent.virt")),
    ("ha_agent.virt", ("ha_agent.ovfstore", "ha_agent.broker", "ha_agent.fsm")),
    ("ha_agent.broker", ("ha_agent.fsm",)),
)
# The simulator may import everything; only the command line and itself import it.
SIMULATOR = "ha_agent.sim"
FSM_IMPORTS = ("ha_agent.fsm", "ha_agent.instant")
ROOTS = (
    "ha_agent.agent",
    "ha_agent.cli.main",
    "ha_agent.broker.service",
    "ha_agent.vdsm.server.service",
)
# `ha-agent run` is the agent's way in.
ROOT_IMPORTS = (("ha_agent.cli.main", "ha_agent.agent"),)
# Libraries that one module has to itself.
ONE_HOME = {
    "prometheus_client": "ha_agent.broker.metrics.text",
    "pyinotify": "ha_agent.file_watch",
    "transitions": "ha_agent.fsm.machine",
    "libvirt": "ha_agent.virt.binding",
    "ovirtsdk4": "ha_agent.engine.sdk",
}

# Rule 7: process loops, RPC dispatch, and a thread's body that hands all it meets to its caller.
BROAD_EXCEPT = (
    *ROOTS,
    "ha_agent.cycle",
    "ha_agent.broker.lease.fence",
    "ha_agent.broker.lease.keeper_task",
    "ha_agent.broker.probes.aside",
    "ha_agent.broker.probes.loop",
    "ha_agent.broker.rpc.connection",
    "ha_agent.broker.storage.worker",
    # oVirt's SDK raises plain Exception for an answer that is no XML.
    "ha_agent.engine.sdk",
    "ha_agent.vdsm.deadline",
    "ha_agent.vdsm.server.handlers",
)

# Names that came after Python 3.9; the syntax that did is refused by the parser below.
TOO_NEW = {
    "asyncio": ("timeout", "timeout_at", "TaskGroup", "Runner", "Barrier"),
    "contextlib": ("aclosing", "chdir"),
    "dataclasses": ("KW_ONLY",),
    "datetime": ("UTC",),
    "enum": ("StrEnum", "ReprEnum", "verify", "member", "nonmember"),
    "itertools": ("pairwise", "batched"),
    "types": ("UnionType", "EllipsisType", "NoneType"),
    "typing": (
        "assert_never", "assert_type", "Concatenate", "LiteralString", "Never", "NotRequired",
        "override", "ParamSpec", "Required", "reveal_type", "Self", "TypeAlias", "TypeGuard",
        "TypeVarTuple", "Unpack",
    ),
}  # fmt: skip
TOO_NEW_MODULES = ("tomllib",)
TOO_NEW_BUILTINS = ("aiter", "anext", "ExceptionGroup", "BaseExceptionGroup", "EncodingWarning")
TOO_NEW_ARGUMENTS = {"zip": ("strict",), "dataclass": ("slots", "kw_only", "match_args")}
TYPES = ("None", "bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")

# setup.cfg gives a test as much.
TEST_TIMEOUT_SECONDS = 60
# The call that runs a test in a loop whose clock jumps to the next timer, and the worlds in it.
VIRTUAL_LOOP = "run_virtual("
VIRTUAL_TIME = ("tests/sim/",)

# Section 5. NUMA, XML and QEMU's block graph have nodes that nobody calls hosts.
HAVE_NODES = ("ha_agent.ovfstore", "ha_agent.vdsm")

# Written so that this line does not hold the words.
LEFTOVER = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")))

Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Source:
    """One file: its path from the root of the project, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        # Python 3.11 before 3.11.5 (Debian 12 has 3.11.2) fails when a garbage collection in the
        # middle of this logs a traceback, which parses, too (python/cpython issue 106905).
        gc.disable()
        try:
            return ast.parse(self.text, self.path, feature_version=(3, 9))
        finally:
            gc.enable()

    @property
    def module(self) -> str:
        return re.sub(r"(/__init__)?\.py$", "", self.path).replace("/", ".")

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/")

    def at(self, line: Union[int, ast.stmt, ast.expr, ast.excepthandler], what: str) -> str:
        number = line if isinstance(line, int) else line.lineno
        return f"{self.path}:{number}: {what}"

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """(line, dotted name) of all imports, wherever they stand; names included."""
        found = []
        package = self.module if self.path.endswith("__init__.py") else within_of(self.module)
        for item in ast.walk(self.tree):
            if isinstance(item, ast.Import):
                found += [(item.lineno, alias.name) for alias in item.names]
            elif isinstance(item, ast.ImportFrom):
                base = item.module or ""
                if item.level:
                    parents = package.split(".")[: len(package.split(".")) - item.level + 1]
                    base = ".".join([*parents, *([base] if base else [])])
                found += [(item.lineno, f"{base}.{alias.name}") for alias in item.names]
        return found

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """All calls with what is called as dotted text, such as "time.sleep"."""
        return [
            (item, ast.unparse(item.func))
            for item in ast.walk(self.tree)
            if isinstance(item, ast.Call)
        ]


Rule = Callable[[Source], Iterator[str]]


def within_of(module: str) -> str:
    return module.rpartition(".")[0]


def within(name: str, *packages: str) -> bool:
    """Tell whether a dotted name is one of the packages or something in them."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def is_pure(name: str) -> bool:
    if within(name, *NOT_PURE):
        return False
    codec = any(part.endswith("_codec") or part == "codec" for part in name.split("."))
    return within(name, *PURE) or (within(name, "ha_agent") and codec)


# --- the rules ---------------------------------------------------------------------------


def pure_core(source: Source) -> Iterator[str]:
    """Rule 1."""
    if not is_pure(source.module):
        return
    for line, name in source.imports:
        if within(name, *IMPURE_LIBRARIES):
            yield source.at(line, f"a pure module imports {name}")
        if within(name, "ha_agent") and not is_pure(name) and not within(name, *PURE_VALUES):
            yield source.at(line, f"a pure module imports {name}, which is not")
    for call, name in source.calls:
        if name.rpartition(".")[2] in (*IMPURE_CALLS, *PATH_CALLS):
            yield source.at(call, f"a pure module calls {name}")


def one_clock(source: Source) -> Iterator[str]:
    """Rule 4."""
    if not within(source.module, "ha_agent") or source.module == "ha_agent.clock":
        return
    for line, name in source.imports:
        if within(name, "time"):
            yield source.at(line, "only clock.py imports time")
    for call, name in source.calls:
        if re.search(r"\b(datetime|date)\.(now|utcnow|today)$", name):
            yield source.at(call, f"only clock.py reads a clock: {name}")


def import_directions(source: Source) -> Iterator[str]:
    """Rule 5."""
    for line, name in source.imports:
        for package, banned in NO_IMPORT:
            if within(source.module, package) and within(name, *banned):
                yield source.at(line, f"{package} must not import {name}")
        shipped = within(source.module, "ha_agent") and not within(source.module, SIMULATOR)
        if shipped and within(name, SIMULATOR) and "ha_agent.cli" not in source.module:
            yield source.at(line, f"nothing depends on the simulator: {name}")
        if within(source.module, "ha_agent.fsm") and within(name, "ha_agent"):
            if not within(name, *FSM_IMPORTS):
                yield source.at(line, f"fsm must not import {name}")
        elif within(source.module, "ha_agent") and not source.module.endswith("__main__"):
            for root in ROOTS:
                allowed = (source.module, root) in ROOT_IMPORTS or source.module == root
                if within(name, root) and not allowed:
                    yield source.at(line, f"{root} is a process root: imported by nobody")
        for library, home in ONE_HOME.items():
            if (
                within(source.module, "ha_agent")
                and source.module != home
                and within(name, library)
            ):
                yield source.at(line, f"only {home} imports {library}")


def no_bare_systemd(source: Source) -> Iterator[str]:
    """Rule 10: the folder systemd/ of a checkout is an importable, empty package."""
    for line, name in source.imports:
        if name == "systemd":
            yield source.at(line, "import what is in systemd, never systemd itself")


def broad_except(source: Source) -> Iterator[str]:
    """Rule 7. A handler that ends in a bare `raise` swallows nothing."""
    if not within(source.module, "ha_agent") or within(source.module, *BROAD_EXCEPT):
        return
    broad = ("Exception", "BaseException")
    for item in ast.walk(source.tree):
        if isinstance(item, ast.ExceptHandler):
            caught = item.type.elts if isinstance(item.type, ast.Tuple) else [item.type]
            last = item.body[-1]
            again = isinstance(last, ast.Raise) and last.exc is None
            names = ["Exception" if name is None else ast.unparse(name) for name in caught]
            if set(names) & set(broad) and not again:
                yield source.at(item, "broad except outside process loops and RPC dispatch")
    for call, name in source.calls:
        if name.endswith("suppress") and {ast.unparse(arg) for arg in call.args} & set(broad):
            yield source.at(call, "broad suppress")


def size_limits(source: Source) -> Iterator[str]:
    """Rule 9. A docstring does not count to its function."""
    lines = source.text.count("\n")
    if lines > MAX_MODULE_LINES and not source.is_test and source.path not in LONG_TABLES:
        yield source.at(1, f"{lines} lines; a module has {MAX_MODULE_LINES} at most")
    for item in ast.walk(source.tree):
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (item.end_lineno or 0) - item.lineno + 1
            first = item.body[0]
            if ast.get_docstring(item, clean=False) is not None:
                length -= (first.end_lineno or 0) - first.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield source.at(
                    item, f"{item.name} has {length} lines; a function has {MAX_FUNCTION_LINES}"
                )


def head_of_module(source: Source) -> Iterator[str]:
    """License, docstring, and annotations that Python 3.9 does not evaluate."""
    if not source.text:
        return
    if not source.text.startswith("# SPDX-License-Identifier: Apache-2.0\n"):
        yield source.at(1, "the first line is the SPDX line")
    if not source.is_test and not ast.get_docstring(source.tree):
        yield source.at(1, "a module has a docstring")
    annotated = any(
        isinstance(item, (*Definition, ast.AnnAssign)) for item in ast.walk(source.tree)
    )
    if annotated and not any(name == "__future__.annotations" for _, name in source.imports):
        yield source.at(1, "from __future__ import annotations is missing")


def leftovers(source: Source) -> Iterator[str]:
    """What is to be done stands in an issue."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if LEFTOVER.search(line):
            yield source.at(number, "a leftover mark")


def our_words(source: Source) -> Iterator[str]:
    """Section 5, of names that we give: a host is not a node."""
    if not within(source.module, "ha_agent") or within(source.module, *HAVE_NODES):
        return
    for item in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(item, Definition):
            names = [item.name]
        elif isinstance(item, ast.arg):
            names = [item.arg]
        elif isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
            names = [item.id]
        for name in names:
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
            if {"node", "nodes"} & set(words):
                yield source.at(getattr(item, "lineno", 1), f"{name}: host is the word, not node")


def python_39(source: Source) -> Iterator[str]:
    """What Python 3.9 has not; new syntax is refused when the tree is made."""
    for line, name in source.imports:
        module, _, thing = name.rpartition(".")
        if thing in TOO_NEW.get(module, ()) or within(name, *TOO_NEW_MODULES):
            yield source.at(line, f"{name} is not in Python 3.9")
    for item in ast.walk(source.tree):
        if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name):
            if item.attr in TOO_NEW.get(item.value.id, ()):
                yield source.at(item, f"{item.value.id}.{item.attr} is not in Python 3.9")
        elif isinstance(item, ast.Name) and item.id in TOO_NEW_BUILTINS:
            yield source.at(item, f"{item.id} is not in Python 3.9")
    for call, name in source.calls:
        for keyword in call.keywords:
            if keyword.arg in TOO_NEW_ARGUMENTS.get(name.rpartition(".")[2], ()):
                yield source.at(call, f"{name}({keyword.arg}=) is not in Python 3.9")
    for union in runtime_unions(source.tree):
        yield source.at(union, f"{ast.unparse(union)} is evaluated, and fails in Python 3.9")


def runtime_unions(tree: ast.Module) -> Iterator[ast.BinOp]:
    """Yield the X | Y of types that are not in an annotation, which is never evaluated."""
    skipped: set[ast.AST] = set()
    for item in ast.walk(tree):
        for annotation in (getattr(item, "annotation", None), getattr(item, "returns", None)):
            if isinstance(annotation, ast.AST):
                skipped.update(ast.walk(annotation))
        if isinstance(item, ast.BinOp) and isinstance(item.op, ast.BitOr) and item not in skipped:
            sides = {ast.unparse(item.left), ast.unparse(item.right)}
            if any(re.sub(r"\[.*", "", side) in TYPES for side in sides):
                yield item


def quick_tests(source: Source) -> Iterator[str]:
    """Rule 10: no test sleeps for a second by the real clock."""
    virtual = VIRTUAL_LOOP in source.text or source.path.startswith(VIRTUAL_TIME)
    if virtual or not source.is_test:
        return
    for call, name in source.calls:
        first = call.args[0] if call.args else None
        if name not in ("sleep", "time.sleep", "asyncio.sleep"):
            continue
        # What would sleep for longer than a test may last can only be there to be cancelled.
        if isinstance(first, ast.Constant) and 1 <= float(str(first.value)) < TEST_TIMEOUT_SECONDS:
            yield source.at(call, f"{ast.unparse(call)}: a test is quick")


def no_patching(source: Source) -> Iterator[str]:
    """Rule 10: tests replace a port, they never patch our own functions."""
    if not source.is_test:
        return
    ours = {
        alias.asname or alias.name.split(".")[0]
        for item in ast.walk(source.tree)
        if isinstance(item, (ast.Import, ast.ImportFrom))
        for alias in item.names
        if within(getattr(item, "module", None) or alias.name, "ha_agent")
    }
    for call, name in source.calls:
        patches = name.endswith(("monkeypatch.setattr", "mock.patch", "patch.object"))
        if (patches or name == "patch") and call.args:
            target = ast.unparse(call.args[0])
            if target.strip("'\"").startswith("ha_agent") or target.split(".")[0] in ours:
                yield source.at(call, f"patches our own {target}: replace a port instead")


RULES: tuple[Rule, ...] = (
    pure_core,
    one_clock,
    import_directions,
    no_bare_systemd,
    broad_except,
    size_limits,
    head_of_module,
    leftovers,
    our_words,
    python_39,
    quick_tests,
    no_patching,
)


# --- over the tree -----------------------------------------------------------------------


def sources() -> Iterator[Source]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            # Samples of other people's files are not ours to tidy.
            if not name.startswith("tests/data/"):
                yield Source(name, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_the_tree_holds(rule: Rule) -> None:
    broken = [violation for source in sources() for violation in rule(source)]
    assert not broken, "\n" + "\n".join(broken)


def test_every_module_has_its_mirrored_test() -> None:
    missing = []
    for path in sorted((ROOT / "ha_agent").rglob("*.py")):
        inside = path.relative_to(ROOT / "ha_agent")
        test = ROOT / "tests" / inside.with_name(f"test_{inside.name}")
        if inside.name not in ("__init__.py", "__main__.py") and not test.exists():
            missing.append(f"ha_agent/{inside.as_posix()}: {test.relative_to(ROOT)} is missing")
    package = ROOT / "haclient" / "ovirt_hosted_engine_ha"
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        test = ROOT / "tests" / "haclient" / inside.with_name(f"test_{inside.name}")
        if inside.name != "__init__.py" and not test.exists():
            missing.append(f"{path.relative_to(ROOT)}: {test.relative_to(ROOT)} is missing")
    assert not missing, "\n" + "\n".join(missing)


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_leftovers_in_units_and_configuration() -> None:
    for folder in ("conf", "systemd"):
        for path in sorted(file for file in (ROOT / folder).rglob("*") if file.is_file()):
            found = LEFTOVER.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found}"


# --- and over samples --------------------------------------------------------------------

BROKEN = [
    (pure_core, "ha_agent/fsm/x.py", "import os"),
    (pure_core, "ha_agent/fsm/x.py", "from urllib import request"),
    (pure_core, "ha_agent/broker/a_codec.py", "def f():\n    import logging"),
    (pure_core, "ha_agent/broker/lease/rules.py", "from ha_agent.clock import SystemClock"),
    (pure_core, "ha_agent/ovfstore/x.py", "open('x')"),
    (pure_core, "ha_agent/ovfstore/x.py", "from .history import load"),
    (pure_core, "ha_agent/ovfstore/x.py", "pathlib.Path('x').read_text()"),
    (pure_core, "ha_agent/observe.py", "import uuid\nuuid.uuid4()"),
    (one_clock, "ha_agent/agent.py", "import time"),
    (one_clock, "ha_agent/agent.py", "from time import monotonic"),
    (one_clock, "ha_agent/agent.py", "datetime.datetime.now()"),
    (import_directions, "ha_agent/fsm/x.py", "import ha_agent.broker.lease.rules"),
    (import_directions, "ha_agent/fsm/x.py", "from ha_agent import config"),
    (import_directions, "ha_agent/broker/x.py", "from ha_agent.fsm.state import State"),
    (import_directions, "ha_agent/broker/x.py", "from ..fsm import state"),
    (import_directions, "ha_agent/broker/__init__.py", "from ..fsm import state"),
    (import_directions, "ha_agent/ovfstore/x.py", "from ha_agent import vdsm"),
    (import_directions, "ha_agent/vdsm/x.py", "import ha_agent.ovfstore"),
    (import_directions, "ha_agent/virt/x.py", "import ha_agent.broker.lease"),
    (import_directions, "ha_agent/virt/x.py", "import libvirt"),
    (import_directions, "ha_agent/perform.py", "from ha_agent.agent import main"),
    (import_directions, "ha_agent/broker/x.py", "from ha_agent.broker import service"),
    (import_directions, "ha_agent/cycle.py", "from ha_agent.sim import loop"),
    (import_directions, "ha_agent/agent.py", "import pyinotify"),
    (import_directions, "ha_agent/fsm/state.py", "from transitions import Machine"),
    (no_bare_systemd, "demo/x.py", "import systemd"),
    (broad_except, "ha_agent/x.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (broad_except, "ha_agent/x.py", "try:\n    f()\nexcept (OSError, Exception):\n    pass"),
    (broad_except, "ha_agent/x.py", "try:\n    f()\nexcept:\n    pass"),
    (broad_except, "ha_agent/x.py", "with contextlib.suppress(BaseException):\n    f()"),
    (size_limits, "ha_agent/x.py", "#\n" * (MAX_MODULE_LINES + 1)),
    (size_limits, "tests/test_x.py", "def f():\n" + "    f()\n" * MAX_FUNCTION_LINES),
    (head_of_module, "ha_agent/x.py", '"""X."""'),
    (head_of_module, "ha_agent/x.py", "# SPDX-License-Identifier: Apache-2.0\n"),
    (head_of_module, "tests/test_x.py", "# SPDX-License-Identifier: Apache-2.0\nx: int"),
    (leftovers, "demo/x.py", "# TO" + "DO: more"),
    (our_words, "ha_agent/x.py", "def f(node): pass"),
    (our_words, "ha_agent/x.py", "class BestNode: pass"),
    (our_words, "ha_agent/x.py", "other_nodes = []"),
    (python_39, "ha_agent/x.py", "from typing import Self"),
    (python_39, "ha_agent/x.py", "import tomllib"),
    (python_39, "ha_agent/x.py", "asyncio.timeout(3)"),
    (python_39, "ha_agent/x.py", "zip(a, b, strict=True)"),
    (python_39, "ha_agent/x.py", "@dataclasses.dataclass(slots=True)\nclass A: pass"),
    (python_39, "ha_agent/x.py", "A = int | None"),
    (python_39, "ha_agent/x.py", "isinstance(x, list[int] | Other)"),
    (quick_tests, "tests/test_x.py", "time.sleep(1)"),
    (quick_tests, "tests/test_x.py", "async def f(): await asyncio.sleep(2.5)"),
    (no_patching, "tests/test_x.py", "monkeypatch.setattr('ha_agent.cli.main.main', f)"),
    (no_patching, "tests/test_x.py", "from ha_agent import cli\nmonkeypatch.setattr(cli, 'x', 1)"),
    (no_patching, "tests/test_x.py", "with mock.patch('ha_agent.cli.main.main'): pass"),
]

SOUND = [
    (pure_core, "ha_agent/fsm/x.py", "from ha_agent.instant import Instant\nre.compile('x')"),
    (pure_core, "ha_agent/ovfstore/history.py", "import os"),
    (pure_core, "ha_agent/ovfstore/x.py", "from pathlib import Path\nPath('a') / 'b'"),
    (one_clock, "ha_agent/clock.py", "import time"),
    (one_clock, "tests/test_x.py", "import time"),
    (import_directions, "ha_agent/fsm/machine.py", "from transitions import Machine"),
    (import_directions, "ha_agent/fsm/x.py", "from .state import State"),
    (import_directions, "ha_agent/cli/main.py", "from ha_agent.agent import main"),
    (import_directions, "ha_agent/cli/simulate.py", "from ha_agent.sim import runner"),
    (import_directions, "ha_agent/broker/x.py", "from ha_agent.broker_port import X"),
    (no_bare_systemd, "ha_agent/log.py", "from systemd import journal"),
    (broad_except, "ha_agent/x.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    (broad_except, "ha_agent/agent.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (size_limits, "ha_agent/x.py", 'def f():\n    """' + "x\n" * 100 + '"""\n    return 1'),
    (our_words, "ha_agent/vdsm/x.py", "numa_nodes = 1"),
    (python_39, "ha_agent/x.py", "def f(x: int | None) -> str | None: return x | mask"),
    (quick_tests, "tests/test_x.py", "asyncio.sleep(0.1)\nclock.sleep(30)\nasyncio.sleep(3600)"),
    (quick_tests, "tests/test_x.py", "async def f(): await asyncio.sleep(20)\nrun_virtual(f())"),
    (no_patching, "tests/test_x.py", "import os\nmonkeypatch.setattr(os, 'fsync', f)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_broken_sample_is_found(rule: Rule, path: str, text: str) -> None:
    found = list(rule(Source(path, text)))
    assert found
    assert all(violation.startswith(f"{path}:") for violation in found)


@pytest.mark.parametrize(("rule", "path", "text"), SOUND)
def test_a_sound_sample_is_let_through(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source(path, text)))


def test_every_rule_has_a_sample_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_newer_syntax_is_refused() -> None:
    with pytest.raises(SyntaxError):
        _ = Source("ha_agent/x.py", "match x:\n    case 1: pass").tree
