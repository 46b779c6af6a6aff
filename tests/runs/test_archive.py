"""An archive is whole or not there; one that is damaged or foreign is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fluxmagic
from fluxmagic import params
from fluxmagic.runs import ArchiveError, archive
from tests.runs.archives import load, refused, rewrite, spoil, untouched
from tests.runs.problems import arrays
from tests.runs.processes import printed

ROOT = os.path.dirname(os.path.dirname(fluxmagic.__file__))
MODEST = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


# -- what is not believed ----------------------------------------------------------------------------------------------


@MODEST
@given(data=st.data())
def test_a_file_that_was_cut_anywhere_is_refused(saved, data):
    run, m, path = saved
    whole = path.read_bytes()
    cut = path.with_name("cut")
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(cut, run, m)


@MODEST
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_lies_in_unread_bytes(saved, data):
    run, m, path = saved
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    flipped = path.with_name("flipped")
    flipped.write_bytes(whole)
    before = spoil(m)
    try:
        loaded = load(flipped, run, m)
    except ArchiveError:
        assert untouched(m, before)
    else:  # a time stamp in the zip's directory, for instance
        assert arrays(loaded) == arrays(run)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("how", ["zeroed", "removed", "doubled"])
def test_a_file_with_a_damaged_piece_is_refused(saved, place, how):
    run, m, path = saved
    whole = path.read_bytes()
    at = {"first": 0, "middle": len(whole) // 2, "last": len(whole) - 200}[place]
    piece = {"zeroed": bytes(200), "removed": b"", "doubled": whole[at : at + 200] * 2}[how]
    path.write_bytes(whole[:at] + piece + whole[at + 200 :])
    refused(path, run, m)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"hello\n" * 100, pickle.dumps({"weights": [1.0]}), np.random.default_rng(0).bytes(5000)],
    ids=["empty", "two bytes", "text", "pickle", "noise"],
)
def test_other_content_is_refused(saved, content):
    run, m, path = saved
    path.write_bytes(content)
    refused(path, run, m, "not a file of fluxmagic")


def test_a_foreign_npz_is_refused(saved):
    run, m, path = saved
    np.savez(path, **{f"a{i}": p.data for i, p in enumerate(params(m))})
    refused(path, run, m, "it has no meta.json")


def test_a_newer_version_is_refused(saved):
    run, m, path = saved
    rewrite(path, lambda meta, content, raw: meta.update(version=archive.VERSION + 1))
    refused(path, run, m, "written by a newer version of fluxmagic")


def test_a_file_of_weights_is_refused_as_a_run(saved):
    run, m, path = saved
    fluxmagic.runs.save_params(m, path)
    refused(path, run, m, "its kind is weights, not run")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-here",)


def test_a_pickled_array_is_not_loaded(saved, monkeypatch, tmp_path):
    run, m, path = saved
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([Hostile()], object), allow_pickle=True)
    rewrite(path, lambda meta, content, raw: {**raw, "loss.npy": buffer.getvalue()})
    refused(path, run, m, "holds object")
    assert not os.path.exists("hostile-was-here")


def header(text):
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8), }\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }\n",
        "{'descr': '|S9', 'fortran_order': False, 'shape': (), }\n",
        "[" * 9000 + "\n",
        "__import__('os')\n",
    ],
    ids=["large", "negative", "huge", "text", "deep", "code"],
)
def test_an_array_header_with_a_false_shape_is_refused(saved, text):
    run, m, path = saved
    rewrite(path, lambda meta, content, raw: {**raw, "loss.npy": header(text)})
    refused(path, run, m)


def test_a_zip_bomb_is_not_decompressed(saved):
    run, m, path = saved
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("meta.json", json.dumps({"format": "fluxmagic", "version": 1, "kind": "run"}))
        with z.open("loss.npy", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    refused(path, run, m, "compressed, or claims to be larger than the file")


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_refused(saved, tmp_path):
    run, m, _ = saved
    with pytest.raises(IsADirectoryError, match="is a folder"):
        run.save(tmp_path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path, run, m)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing", run, m)
    with pytest.raises(FileNotFoundError):
        run.save(tmp_path / "no folder" / "a")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    code = """
import os, resource, sys
from tests.runs.problems import line
run, _ = line(epochs=1000)
run.step(10)
run.save("a")
old = open("a", "rb").read()
run.step(1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, len(old) // 2))
try:
    run.save("a")
except OSError as error:
    print(type(error).__name__, error.errno, open("a", "rb").read() == old, os.listdir("."))
run.step()
"""
    assert printed(code, cwd=tmp_path) == "OSError 27 True ['a']\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def temporary(path):
    """The name under which a file is written at first."""
    seen = []
    with pytest.raises(ZeroDivisionError):
        archive.write_atomically(path, lambda file: seen.append(os.path.basename(file.name)) or 1 / 0)
    assert seen[0] not in os.listdir(path.parent)
    return seen[0]


def test_stale_temporary_files_of_the_same_name_are_removed_and_no_others(saved, tmp_path):
    run, _, path = saved
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, other = (temporary(tmp_path / name) for name in (path.name, "other.npz"))
    gone = {mine.replace(f"-{os.getpid()}-", f"-{pid}-") for pid in (dead.pid, 10**30)}
    kept = {mine, other.replace(f"-{os.getpid()}-", f"-{dead.pid}-")}
    kept |= {f".run.npz.{dead.pid}.abc.tmp", ".run.npz.notes.tmp", "run.npz.tmp"}  # the user's own
    for name in gone | kept:
        (tmp_path / name).touch()
    assert gone | kept | {path.name} == set(os.listdir(tmp_path))
    run.save(path)
    assert kept | {path.name} == set(os.listdir(tmp_path))


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_new_file_follows_the_umask_and_a_replaced_file_keeps_its_mode(saved, tmp_path, umask):
    run, m, _ = saved
    run.save(tmp_path / "a")
    fluxmagic.runs.save_params(m, tmp_path / "b")
    assert [mode(tmp_path / k) for k in "ab"] == [0o640, 0o640]
    os.chmod(tmp_path / "a", 0o604)
    run.save(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o604


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_file_that_root_replaces_keeps_its_owner(saved, tmp_path):
    run, _, path = saved
    os.chown(path, 1234, 2345)
    os.chmod(path, 0o640)
    run.save(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 2345, 0o640)


def test_a_temporary_file_is_private_before_it_has_the_old_mode(tmp_path, umask):
    path = tmp_path / "a"
    path.write_bytes(b"secret")
    os.chmod(path, 0o600)
    archive.write_atomically(path, lambda file: file.write(b"%o" % mode(file.name)))
    assert path.read_bytes() == b"600"


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_symbolic_link_stays_a_link(saved, tmp_path, there):
    run, m, _ = saved
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").touch() if there else None
    (tmp_path / "link").symlink_to("disk/a")
    (tmp_path / "link 2").symlink_to("link")
    run.save(tmp_path / "link 2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "link 2").is_symlink()
    assert os.listdir(tmp_path / "disk") == ["a"]
    load(tmp_path / "link 2", run, m)


def test_a_circular_link_is_an_error_that_names_it(saved, tmp_path):
    run, _, _ = saved
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"symbolic links.*/a'"):
        run.save(tmp_path / "a")


def test_a_pipe_or_a_device_is_refused(saved, tmp_path):
    run, m, _ = saved
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        for f in (
            lambda path=path: run.save(path),
            lambda path=path: load(path, run, m),
            lambda path=path: fluxmagic.runs.save_params(m, path),
            lambda path=path: fluxmagic.runs.load_params(m, path),
        ):
            with pytest.raises(OSError, match=f"{path} is a device, a pipe or a socket, not a regular file"):
                f()
    assert stat.S_ISFIFO(os.lstat(tmp_path / "pipe").st_mode)
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


def test_the_longest_name_of_the_file_system_is_written(saved, tmp_path):
    run, m, _ = saved
    path = tmp_path / ("η" * 127)  # 254 bytes of 255
    run.save(path)
    run.save(path)
    load(path, run, m)
    with pytest.raises(OSError, match="name too long"):
        run.save(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.getuid() != 0, reason="root becomes the user `nobody` here, for whom permissions hold")
def test_a_permission_error_names_the_path_of_the_user(tmp_path):
    code = """
import os, sys
from fluxmagic.runs import archive
os.setuid(65534)
os.chdir(sys.argv[1])
for path in ("closed/a", "closed/file", "open/fixed", "write-only/a"):
    try:
        archive.write_atomically(path, lambda file: file.write(b"new"))
        print(path, open(path).read())
    except PermissionError as error:
        print(error)
"""
    for folder, permissions in (("closed", 0o755), ("open", 0o777), ("write-only", 0o333)):
        (tmp_path / folder).mkdir()
        os.chmod(tmp_path / folder, permissions)
    for file, permissions in (("closed/file", 0o666), ("open/fixed", 0o444)):
        (tmp_path / file).write_text("old")
        os.chmod(tmp_path / file, permissions)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is root's alone
        shutil.copytree(tmp_path, f"{folder}/t")
        os.chmod(folder, 0o755)
        os.chmod(f"{folder}/t", 0o755)
        done = subprocess.run(
            [sys.executable, "-c", code, f"{folder}/t"],
            env={**os.environ, "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[Errno 13] Permission denied: 'closed/a'",
        "[Errno 13] Permission denied: 'closed/file'",
        "open/fixed is read-only: give another path, or make it writable",
        "write-only/a new",
    ]
