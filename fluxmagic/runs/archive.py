"""Arrays and JSON in one file that is whole or not there, and that is checked before it is used.

An archive is an uncompressed `.npz` with one more member, `meta.json`: format, version, kind, whatever describes the
arrays, and a SHA-256 of all.  Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

__all__ = ["HEADER", "VERSION", "AnyPath", "ArchiveError", "digest", "read", "regular", "write", "write_atomically"]

AnyPath = str | os.PathLike[str]
VERSION = 2
HEADER = ("format", "version", "kind")  # keys of the meta data that the archive itself writes
META = "meta.json"
_LARGEST_META = 256_000_000  # bytes
_LONGEST = 4000  # characters of a message


class ArchiveError(ValueError):
    """A file is cut, damaged, foreign, from a newer version, or does not fit.

    The message is one line of printable characters, whatever text of the file it quotes.
    """

    def __init__(self, message: str) -> None:
        cut = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut))


def digest(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Compute the SHA-256 of JSON and of the names, dtypes, shapes and bytes of arrays."""
    h = hashlib.sha256(json.dumps(meta, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        h.update(f"{name}\0{a.dtype.str}\0{a.shape}\0".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def regular(path: AnyPath) -> os.stat_result | None:
    """Return the status of a regular file, None if there is nothing; anything else is an `OSError`, and not opened."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is a device, a pipe or a socket, not a regular file: give the path of a file")
    return status


def write_atomically(path: AnyPath, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, flush it to the disk, and rename it.

    A file that is replaced keeps its mode and owner; a symbolic link stays one.  After an `OSError` (a folder, a file
    that is read-only, a full disk) what was there is untouched.
    """
    old = regular(path)
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only: give another path, or make it writable")
    folder, name = os.path.split(os.path.realpath(path))
    # A shared disk: the number of a process is known on its host only.
    prefix = f".fluxmagic-{hashlib.sha256(os.fsencode(platform.node() + name)).hexdigest()[:16]}-"
    temporary = os.path.join(folder, f"{prefix}{os.getpid()}-{os.urandom(4).hex()}.tmp")
    mode = 0o666 if old is None else 0o600  # no other user reads a replacement before it has the old mode
    try:
        _remove_stale(folder, prefix)
        with open(temporary, "xb", opener=lambda p, flags: os.open(p, flags, mode)) as file:
            if old is not None:
                with suppress(PermissionError, AttributeError):  # not every process and system may
                    os.chown(temporary, old.st_uid, old.st_gid)
                os.chmod(temporary, stat.S_IMODE(old.st_mode))
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, os.path.join(folder, name))
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = os.fspath(path)
        raise
    with suppress(OSError, AttributeError):  # the name, too, has to reach the disk, where the system can do that
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_stale(folder: str, prefix: str) -> None:
    """Remove the temporary files of processes that were killed."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)-[0-9a-f]{8}\.tmp")
    with suppress(OSError):  # another process may have removed it, or own it
        for entry in os.listdir(folder):
            match = pattern.fullmatch(entry)
            if match and not _alive(int(match[1])):
                os.unlink(os.path.join(folder, entry))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def write(path: AnyPath, kind: str, meta: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an archive of a kind: `meta`, which JSON can hold, and arrays."""
    about = json.loads(json.dumps(dict(meta, kind=kind, format="fluxmagic", version=VERSION)))
    ordered = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    about["sha256"] = digest(about, ordered)

    def fill(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as z:
            z.writestr(META, json.dumps(about, ensure_ascii=False))
            for name, a in ordered.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, a, allow_pickle=False)
                z.writestr(f"{name}.npy", buffer.getvalue())

    write_atomically(path, fill)


def read(path: AnyPath, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read `meta`, with the keys of `HEADER`, and arrays.  Sizes are checked before memory is taken.

    `ArchiveError` says why a file is not a whole archive of this kind; `OSError` that no regular file is there.
    """
    regular(path)
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as z:
            _check_members(z.infolist(), size)
            meta = json.loads(z.read(META).decode())
            _check_header(meta, kind)
            names = [name for name in z.namelist() if name != META]
            arrays = {name.removesuffix(".npy"): _array(name, z.read(name)) for name in names}
            if meta.pop("sha256", None) != digest(meta, arrays):
                raise ArchiveError("damaged: its content does not have the hash that it claims")
            return meta, arrays
    except MemoryError:
        raise
    except ArchiveError as error:
        reason = str(error)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        reason = f"cut, damaged, or not a file of fluxmagic ({error})"
    except Exception as error:  # zipfile, json and NumPy raise all kinds of errors
        reason = f"damaged ({type(error).__name__}: {error})"
    raise ArchiveError(f"{path}: {reason}")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    sizes = {m.filename: m.file_size for m in members}
    if META not in sizes:
        raise ArchiveError(f"not a file of fluxmagic: it has no {META}")
    if len(sizes) != len(members):
        raise ArchiveError("a name appears twice in it")
    for m in members:
        if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size or m.file_size > size:
            raise ArchiveError(f"{m.filename} is compressed, or claims to be larger than the file")
    if members[0].header_offset or sum(sizes.values()) > size:
        raise ArchiveError("damaged: its members overlap, or do not begin where the file does")
    if sizes[META] > _LARGEST_META:
        raise ArchiveError(f"{META} is too large")


def _check_header(meta: object, kind: str) -> None:
    if not isinstance(meta, dict) or meta.get("format") != "fluxmagic":
        raise ArchiveError("not a file of fluxmagic")
    version = meta.get("version")
    if type(version) is not int or version < 1:
        raise ArchiveError(f"damaged: format {version!r}")
    if version > VERSION:
        raise ArchiveError(f"written by a newer version of fluxmagic (format {version}, this one reads {VERSION})")
    if meta.get("kind") != kind:
        raise ArchiveError(f"its kind is {meta.get('kind')}, not {kind}")


def _array(name: str, raw: bytes) -> np.ndarray:
    """Make an array once its header is known to fit its length."""
    buffer = io.BytesIO(raw)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ArchiveError(f"{name} has an unknown header")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    if dtype.hasobject or dtype.kind not in "fiub" or fortran:
        raise ArchiveError(f"{name} holds {dtype}, which is not allowed")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(raw) - buffer.tell():
        raise ArchiveError(f"{name} does not have the length that its header claims")
    return np.frombuffer(raw, dtype, count, buffer.tell()).reshape(shape).copy()
