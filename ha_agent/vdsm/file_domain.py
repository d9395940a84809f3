# SPDX-License-Identifier: Apache-2.0
"""A file storage domain's layout and its metadata, as VDSM has them on NFS and local directories.

    <domain>/dom_md/metadata                    KEY=VALUE lines about the domain
    <domain>/dom_md/{ids,leases,inbox,outbox}   sanlock's and the SPM's; made empty here, and
                                                filled by vm/sanlock.py where leases are sanlock's
    <domain>/images/<image>/<volume>            the data
    <domain>/images/<image>/<volume>.meta       KEY=VALUE lines, one EOF line
    <domain>/images/<image>/<volume>.lease      the volume's lease; the VM lease locks it

<domain> is a directory named by the domain's UUID. A volume's metadata, as VDSM 4.5 writes it for
domains of version 5 (CAP in bytes; before, SIZE in blocks of 512):

    CAP=134217728        CTIME=1766400000    DESCRIPTION={"DiskAlias":"OVF_STORE",...}
    DISKTYPE=OVFS        DOMAIN=<uuid>       FORMAT=RAW|COW        GEN=0
    IMAGE=<uuid>         LEGALITY=LEGAL      PUUID=<uuid of zeros> TYPE=SPARSE|PREALLOCATED
    VOLTYPE=LEAF         EOF

All calls here block and may hang with the storage: callers run them off the loop. Files are
written whole, beside their name and then renamed, since other hosts may read and write them too.
Where root makes them they belong to the owner of the domain's directory: the daemons are not root.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Callable, Optional

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm_user import Owner, give, inherit

BLANK_UUID = "00000000-0000-0000-0000-000000000000"
MAX_METADATA_BYTES = 64 * 1024
MAX_DESCRIPTION_CHARS = 210  # VDSM cuts what is longer, to keep the metadata in one block
DISK_TYPES = {"DATA", "OVFS", "MEMD", "MEMM", "ISOF", "HEVD", "HESD", "HEMD", "HECI", "SCRD"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VOLUME_KEYS = (
    "CAP", "CTIME", "DESCRIPTION", "DISKTYPE", "DOMAIN", "FORMAT", "GEN", "IMAGE", "LEGALITY",
    "PUUID", "TYPE", "VOLTYPE",
)  # fmt: skip
_OWNER_ONLY = 0o660
_BLOCK_BYTES = 512


class NoSuchVolume(EnvironmentFault):
    """The image has no such volume."""


class NoSuchImage(EnvironmentFault):
    """The domain has no such image directory."""


class NoSuchDomain(EnvironmentFault):
    """None of the configured paths has the domain."""


def is_uuid(text: str) -> bool:
    """Tell whether the text is a UUID in lower case, so that it is safe as a file name."""
    return _UUID.fullmatch(text) is not None


def find_domain(paths: tuple[Path, ...], domain: str) -> Path:
    """Return the domain's directory: one of `paths`, or in one of them. Raises NoSuchDomain."""
    if is_uuid(domain):
        for path in paths:
            candidate = path if path.name == domain else path / domain
            if (candidate / "dom_md" / "metadata").is_file():
                return candidate
    raise NoSuchDomain(f"storage domain {domain[:60]} is not on this host")


def find_image(domain_path: Path, image: str) -> Path:
    """Return the image's directory. Raises NoSuchImage."""
    path = domain_path / "images" / image
    if not is_uuid(image) or not path.is_dir():
        raise NoSuchImage(f"no image {image[:60]} in {domain_path}")
    return path


def find_volume(domain_path: Path, image: str, volume: str) -> Path:
    """Return the volume's path. Raises NoSuchImage, NoSuchVolume."""
    path = find_image(domain_path, image) / volume
    if not is_uuid(volume) or not path.is_file():
        raise NoSuchVolume(f"no volume {volume[:60]} in image {image}")
    return path


def list_images(domain_path: Path) -> list[str]:
    """Return the images' UUIDs, sorted."""
    return sorted(name for name in os.listdir(domain_path / "images") if is_uuid(name))


def list_volumes(domain_path: Path, image: str) -> list[str]:
    """Return the UUIDs of an image's volumes, sorted. Raises NoSuchImage."""
    names = os.listdir(find_image(domain_path, image))
    return sorted(name[:-5] for name in names if name.endswith(".meta") and is_uuid(name[:-5]))


def parse_metadata(data: bytes, where: str) -> dict[str, str]:
    """Read KEY=VALUE lines up to EOF or the end. Raises BadInput with the line."""
    if len(data) > MAX_METADATA_BYTES:
        raise BadInput(f"longer than {MAX_METADATA_BYTES} bytes", where=where)
    values: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        text = line.rstrip("\0\r")
        if text == "EOF":
            break
        if not text:
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise BadInput(
                f"{text[:40]!r} is not KEY=VALUE", where=where, offset=number, unit="line"
            )
        values[key.strip()] = value
    return values


def parse_volume_metadata(data: bytes, where: str) -> dict[str, str]:
    """Read a .meta file; CAP is made from SIZE for old domains. Raises BadInput."""
    values = parse_metadata(data, where)
    if "CAP" not in values and values.get("SIZE", "").isdecimal():
        values["CAP"] = str(int(values["SIZE"]) * _BLOCK_BYTES)
    missing = [key for key in _VOLUME_KEYS if key not in values and key not in ("GEN",)]
    if missing:
        raise BadInput(f"no {', '.join(missing)}", where=where)
    for key in ("CAP", "CTIME"):
        if not values[key].isdecimal():
            raise BadInput(f"{key}={values[key][:40]!r} is no number", where=where)
    values.setdefault("GEN", "0")
    return values


def read_volume_metadata(volume_path: Path) -> dict[str, str]:
    """Read the metadata beside a volume. Raises NoSuchVolume, BadInput."""
    path = volume_path.with_name(f"{volume_path.name}.meta")
    return parse_volume_metadata(_read(path), str(path))


def cut_description(text: str) -> str:
    """Return a description as VDSM keeps it. Raises BadInput for one with line ends."""
    if "\n" in text or "\r" in text:
        raise BadInput("has line ends", where="DESCRIPTION")
    return text[:MAX_DESCRIPTION_CHARS]


def write_description(volume_path: Path, description: str) -> None:
    """Replace the description in a volume's metadata, cut as VDSM cuts it, and nothing else.

    Durable at return. Raises NoSuchVolume, BadInput, EnvironmentFault.
    """
    path = volume_path.with_name(f"{volume_path.name}.meta")
    values = parse_metadata(_read(path), str(path))
    values["DESCRIPTION"] = cut_description(description)
    lines = "".join(f"{key}={value}\n" for key, value in values.items())
    _write(path, lines.encode() + b"EOF\n")


def read_domain_metadata(domain_path: Path) -> dict[str, str]:
    """Read the domain's own metadata. Raises NoSuchVolume, BadInput."""
    path = domain_path / "dom_md" / "metadata"
    return parse_metadata(_read(path), str(path))


def format_volume_metadata(
    *,
    domain: str,
    image: str,
    size_bytes: int,
    description: str,
    disktype: str,
    created_at_seconds: int,
    format: str = "RAW",
    type: str = "SPARSE",
    generation: int = 0,
) -> bytes:
    """Return a .meta file's bytes. `description` is the engine's JSON or any one line.

    Raises BadInput for a value that would not survive the format.
    """
    if "\n" in description or len(description) > MAX_DESCRIPTION_CHARS:
        raise BadInput("has line ends or is too long", where="DESCRIPTION")
    if disktype not in DISK_TYPES:
        raise BadInput(f"{disktype!r} is unknown", where="DISKTYPE")
    if format not in ("RAW", "COW") or type not in ("SPARSE", "PREALLOCATED"):
        raise BadInput(f"{format!r}, {type!r} are unknown", where="FORMAT, TYPE")
    values: Mapping[str, object] = {
        "CAP": size_bytes,
        "CTIME": created_at_seconds,
        "DESCRIPTION": description,
        "DISKTYPE": disktype,
        "DOMAIN": domain,
        "FORMAT": format,
        "GEN": generation,
        "IMAGE": image,
        "LEGALITY": "LEGAL",
        "PUUID": BLANK_UUID,
        "TYPE": type,
        "VOLTYPE": "LEAF",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode() + b"EOF\n"


def create_domain(
    parent: Path,
    domain: str,
    *,
    name: str,
    pool: str = "",
    kind: str = "LOCALFS",
    version: int = 5,
    remote_path: str = "",
    owner: Owner = None,
) -> Path:
    """Make an empty data domain in `parent`; return its directory. The metadata comes last: a
    directory without it is no domain yet, and is taken.

    It is given to `owner`. `remote_path` is what it is connected by; without it, `parent`.

    Raises BadInput, or EnvironmentFault when it is there already or can't be made.
    """
    if not is_uuid(domain):
        raise BadInput(f"{domain[:60]!r} is no UUID", where="storage domain")
    if "\n" in name:
        raise BadInput("has line ends", where="storage domain's name")
    path = parent / domain
    lines = {
        "ALIGNMENT": 1048576, "BLOCK_SIZE": _BLOCK_BYTES, "CLASS": "Data", "DESCRIPTION": name,
        "IOOPTIMEOUTSEC": 10, "LEASERETRIES": 3, "LEASETIMESEC": 60, "LOCKPOLICY": "",
        "LOCKRENEWALINTERVALSEC": 5, "POOL_UUID": pool, "REMOTE_PATH": remote_path or parent,
        "ROLE": "Regular",
        "SDUUID": domain, "TYPE": kind, "VERSION": version,
    }  # fmt: skip
    if (path / "dom_md" / "metadata").exists():
        raise EnvironmentFault(f"storage domain {path}: File exists")
    try:
        path.mkdir(parents=True, exist_ok=True)
        give(path, owner)
        for folder in ("images", "dom_md"):
            _make_folder(path / folder)
        for empty in ("ids", "leases", "inbox", "outbox"):
            _touch(path / "dom_md" / empty)
    except OSError as error:
        raise EnvironmentFault(f"storage domain {path}: {error.strerror}") from error
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    _write(path / "dom_md" / "metadata", text.encode())
    return path


def create_volume(
    domain_path: Path,
    image: str,
    volume: str,
    size_bytes: int,
    description: str,
    disktype: str,
    *,
    created_at_seconds: int,
    source: Optional[Path] = None,
    type: str = "SPARSE",
    make_lease: Callable[[Path], None] = lambda _volume: None,
) -> Path:
    """Make a raw volume with its metadata and lease file; return the volume's path.

    `type` is SPARSE or PREALLOCATED, which takes the space now. `source` is a file that is copied
    into it, at most `size_bytes` long. `make_lease` gets the volume's path when its empty lease
    file is there. The metadata comes last: a volume without is no volume yet.
    Raises BadInput, EnvironmentFault.
    """
    if not is_uuid(image) or not is_uuid(volume):
        raise BadInput(f"{image[:60]!r}, {volume[:60]!r} are no UUIDs", where="image, volume")
    metadata = format_volume_metadata(
        domain=domain_path.name,
        image=image,
        size_bytes=size_bytes,
        description=description,
        disktype=disktype,
        created_at_seconds=created_at_seconds,
        type=type,
    )
    path = domain_path / "images" / image / volume
    try:
        _make_folder(path.parent)
        with path.open("xb") as file:
            inherit(path)
            os.chmod(file.fileno(), _OWNER_ONLY)
            if source is not None:
                _copy(source, file.fileno(), size_bytes)
            file.truncate(size_bytes)
            if type == "PREALLOCATED" and size_bytes:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            os.fsync(file.fileno())
        _touch(path.with_name(f"{volume}.lease"))
        make_lease(path)
    except FileExistsError:
        raise EnvironmentFault(f"volume {path}: File exists") from None
    except OSError as error:
        # What took all the space that there was must not go on doing so.
        for name in (volume, f"{volume}.lease"):
            with contextlib.suppress(OSError):
                path.with_name(name).unlink()
        raise EnvironmentFault(f"volume {path}: {error.strerror}") from error
    _write(path.with_name(f"{volume}.meta"), metadata)
    return path


def _copy(source: Path, target: int, size_bytes: int) -> None:
    """Copy a file, leaving holes where it has only zeros."""
    chunk_bytes = 1024 * 1024
    with source.open("rb") as file:
        if os.fstat(file.fileno()).st_size > size_bytes:
            raise BadInput(f"is longer than the volume of {size_bytes} bytes", where=str(source))
        offset = 0
        while True:
            chunk = file.read(chunk_bytes)
            if not chunk:
                return
            if chunk.count(0) != len(chunk):
                os.pwrite(target, chunk, offset)
            offset += len(chunk)


def _make_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    inherit(path)


def _touch(path: Path) -> None:
    path.touch()
    inherit(path)
    path.chmod(_OWNER_ONLY)  # whatever the umask says: sanlock is of the group


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_METADATA_BYTES + 1)
    except FileNotFoundError as error:
        raise NoSuchVolume(f"{path} does not exist") from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    # Not atomic_file.replace_file: its draft is named by the process's id, which another host's
    # process may have as well.
    draft = path.with_name(f".{path.name}.{uuid.uuid4()}")
    try:
        with draft.open("xb") as file:
            inherit(draft)
            os.fchmod(file.fileno(), _OWNER_ONLY)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise EnvironmentFault(f"{path}: {error.strerror}") from error
