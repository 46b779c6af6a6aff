"""Files that are whole or not there, and that are checked before they are believed.

An archive is an uncompressed `.npz` (a zip of `.npy` members) with one member more, `meta.json`: the format's
name and version, whatever describes the arrays, and a SHA-256 of it all.  No pickle, ever.
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
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["HEADER", "VERSION", "ArchiveError", "digest", "read", "regular", "write", "write_atomically"]

VERSION = 2
HEADER = ("format", "version", "kind")  # keys of the meta data that the archive itself writes
META = "meta.json"
_MOST_META = 256_000_000  # bytes
_LONGEST = 4000  # characters of a message


class ArchiveError(ValueError):
    """A file cannot be taken: it is cut, damaged, foreign, from a newer version, or does not fit.

    Its message is one line of printable characters, whatever text of the file it quotes.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST:
            message = f"{message[:_LONGEST]}…"
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


def digest(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    h = hashlib.sha256(json.dumps(meta, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        h.update(f"{name}\0{a.dtype.str}\0{a.shape}\0".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def regular(path: Any) -> os.stat_result | None:
    """The status of a regular file; None where there is none.  Other kinds are refused before they are opened.

    Raises
    ------
    IsADirectoryError
        If the path is a folder.
    OSError
        If it is a device, a pipe or a socket: one cannot be replaced, and another is waited for.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is a device, a pipe or a socket, not a regular file: give the path of a file")
    return status


def write_atomically(path: Any, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, flush it to the disk, and rename it.

    A file that is replaced keeps its mode and owner, and a symbolic link stays one.

    Raises
    ------
    IsADirectoryError
        If the path is a folder.
    PermissionError
        If the file is read-only, or its folder is.
    OSError
        If it is no regular file, the disk is full, or the like; what was there under that name is untouched.
    """
    old = regular(path)
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only: give another path, or make it writable")
    folder, name = os.path.split(os.path.realpath(path))
    # The host's name is in it: on a shared disk a process's number says something about this host only.
    prefix = f".fluxmagic-{hashlib.sha256(os.fsencode(platform.node() + name)).hexdigest()[:16]}-"
    temporary = os.path.join(folder, f"{prefix}{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        _remove_stale(folder, prefix)
        # A new file's mode follows the umask; one that takes a file's place is nobody else's until it has that mode.
        with open(temporary, "xb", opener=lambda p, flags: os.open(p, flags, 0o666 if old is None else 0o600)) as file:
            if old is not None:
                _take_over(temporary, old)
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
    if hasattr(os, "O_DIRECTORY"):  # the renaming, too, has to reach the disk
        with suppress(OSError):  # some file systems cannot, and some folders are writable only
            handle = os.open(folder, os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _take_over(temporary: str, old: os.stat_result) -> None:
    """Give a file the owner of another one, where this process may, and its mode."""
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(temporary, old.st_uid, old.st_gid)
    os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _remove_stale(folder: str, prefix: str) -> None:
    """Remove what processes that were killed have left; only names that `write_atomically` makes."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)-[0-9a-f]{8}\.tmp")
    with suppress(OSError):  # another process may have done it already, or only that one may
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


def write(path: Any, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an archive.

    Parameters
    ----------
    path : path
        Any suffix.
    kind : str
        What it holds.
    meta : dict
        That JSON can hold.
    arrays : dict of ndarray
        Written in C order.
    """
    about: dict[str, Any] = json.loads(json.dumps(dict(meta, kind=kind, format="fluxmagic", version=VERSION)))
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


def read(path: Any, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read an archive, and check it: format, version, sizes before memory is taken, hash.

    Returns
    -------
    meta : dict
    arrays : dict of ndarray

    Raises
    ------
    ArchiveError
        If it cannot be taken; the message says why.
    OSError
        If there is no such file, or it is no regular one.
    """
    path = Path(path)
    regular(path)
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as z:
            members = z.infolist()
            names = [m.filename for m in members]
            if META not in names:
                raise ArchiveError(f"{path}: not a file of fluxmagic: it has no {META}")
            if len(set(names)) != len(names):
                raise ArchiveError(f"{path}: a name appears twice in it")
            for m in members:
                # stored, not compressed: what is claimed has to be there
                if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size or m.file_size > size:
                    raise ArchiveError(f"{path}: {m.filename} is compressed, or claims to be larger than the file")
            if members[0].header_offset or sum(m.file_size for m in members) > size:
                raise ArchiveError(f"{path}: damaged: its members overlap, or do not begin where the file does")
            if z.getinfo(META).file_size > _MOST_META:
                raise ArchiveError(f"{path}: {META} is too large")
            meta = json.loads(z.read(META).decode())
            _check_meta(path, meta, kind)
            arrays = {}
            for name in names:
                if name != META:
                    arrays[name.removesuffix(".npy")] = _array(path, name, z.read(name))
            if meta.pop("sha256", None) != digest(meta, arrays):
                raise ArchiveError(f"{path}: damaged: its content does not have the hash that it claims")
    except (ArchiveError, MemoryError):
        raise
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise ArchiveError(f"{path}: cut, damaged, or not a file of fluxmagic ({error})") from None
    except Exception as error:  # zipfile, json and NumPy raise all kinds on what they were not made for
        raise ArchiveError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    return meta, arrays


def _check_meta(path: Path, meta: Any, kind: str) -> None:
    if not isinstance(meta, dict) or meta.get("format") != "fluxmagic":
        raise ArchiveError(f"{path}: not a file of fluxmagic")
    version = meta.get("version")
    if type(version) is not int or version < 1:
        raise ArchiveError(f"{path}: damaged: format {version!r}")
    if version > VERSION:
        raise ArchiveError(
            f"{path}: written by a newer version of fluxmagic (format {version}, this one reads {VERSION})"
        )
    if meta.get("kind") != kind:
        raise ArchiveError(f"{path}: its kind is {meta.get('kind')}, not {kind}")


def _array(path: Path, name: str, raw: bytes) -> np.ndarray:
    """One member, its header checked against its length before an array is made."""
    buffer = io.BytesIO(raw)
    version = np.lib.format.read_magic(buffer)
    if version != (1, 0):
        raise ArchiveError(f"{path}: {name} has an unknown header")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    if dtype.hasobject or dtype.kind not in "fiub" or fortran:
        raise ArchiveError(f"{path}: {name} holds {dtype}, which is not taken")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(raw) - buffer.tell():
        raise ArchiveError(f"{path}: {name} does not have the length that its header claims")
    return np.frombuffer(raw, dtype, count, buffer.tell()).reshape(shape).copy()
