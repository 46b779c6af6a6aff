"""Files of weights: modes, links, pipes, long names, damaged and forged content."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from fluxmagic import Dense
from fluxmagic.runs import ArchiveError, load_params, save_params
from tests.runs.test_weights import FILES, model


def safetensors_file(header, body=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def npz_file(header, body=b"\0" * 8, **options):
    """An archive whose member's header claims something."""
    raw = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    member = b"\x93NUMPY\x01\0" + struct.pack("<H", len(raw)) + raw + body
    meta = {"format": "fluxmagic", "version": 1, "kind": "weights", "sha256": "0" * 64, **options}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        z.writestr("meta.json", json.dumps(meta))
        z.writestr("[0].W.npy", member)
    return buffer.getvalue()


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FORGED = {
    "shape.safetensors": safetensors_file({"W": F32 | {"shape": [2**62]}}, bytes(8)),
    "empty.safetensors": safetensors_file({"W": F32 | {"shape": [2**62, 0], "data_offsets": [0, 0]}}),
    "offsets.safetensors": safetensors_file({"W": F32 | {"data_offsets": [0, 2**60]}}, bytes(8)),
    "overlap.safetensors": safetensors_file({"W": F32, "V": F32}, bytes(8)),
    "negative.safetensors": safetensors_file({"W": F32 | {"shape": [-2]}}, bytes(8)),
    "dtype.safetensors": safetensors_file({"W": F32 | {"dtype": "U20000000"}}, bytes(8)),
    "nested.safetensors": safetensors_file(b"[" * 100_000),
    "length.safetensors": safetensors_file(b"{}", length=2**62),
    "long.safetensors": safetensors_file(b"{}", length=90_000_000) + bytes(1000),
    "surrogate.safetensors": safetensors_file(
        b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)
    ),
    "dimensions.safetensors": safetensors_file({"W": F32 | {"shape": [1] * 100_000, "data_offsets": [0, 4]}}, bytes(4)),
    "foreign.safetensors": b"PK\x03\x04" + bytes(100),
    "shape.npz": npz_file("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }"),
    "empty.npz": npz_file("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 0), }", b""),
    "dtype.npz": npz_file("{'descr': '<U20000000', 'fortran_order': False, 'shape': (1,), }"),
    "record.npz": npz_file("{'descr': [('a', '<f4', (100000000,))], 'fortran_order': False, 'shape': (1,), }"),
    "object.npz": npz_file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
    "negative.npz": npz_file("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }"),
    "code.npz": npz_file("__import__('os').system('true')"),
    "nested.npz": npz_file("(" * 9000),
    "kind.npz": npz_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", kind="run"),
    "hash.npz": npz_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"),
    "version.npz": npz_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", version=10**40),
}


@pytest.mark.parametrize("file", FORGED)
def test_forged_headers_are_refused_without_allocating_what_they_claim(tmp_path, file):
    if file.endswith("safetensors"):
        pytest.importorskip("safetensors")
    path, m = tmp_path / file, Dense(2, 1)
    path.write_bytes(FORGED[file])
    before = m.W.data.copy()
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError) as caught:
            load_params(m, path)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 5000
    np.testing.assert_array_equal(m.W.data, before)


@FILES
def test_writing_keeps_the_mode_and_the_link_of_the_target(tmp_path, file):
    m, path = Dense(2, 1), tmp_path / file
    old = os.umask(0o027)
    try:
        save_params(m, path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path)
    save_params(m, link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    load_params(m, link)
    assert {p.name for p in tmp_path.iterdir()} == {file, link.name}


@FILES
def test_a_pipe_is_refused_at_once_and_kept(tmp_path, file):
    path = tmp_path / file
    os.mkfifo(path)
    for use in (save_params, load_params):
        with pytest.raises(OSError, match="not a regular file"):
            use(Dense(2, 1), path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    with pytest.raises(FileNotFoundError):
        load_params(Dense(2, 1), tmp_path / f"missing{path.suffix}")


@FILES
def test_a_file_name_may_have_255_bytes(tmp_path, file):
    m, path = Dense(2, 1), tmp_path / ("n" * (255 - len(file)) + file)
    save_params(m, path)
    load_params(m, path)


@FILES
def test_a_damaged_file_is_refused(tmp_path, file):
    if file.endswith("safetensors"):
        pytest.importorskip("safetensors")
    m = model()
    path = tmp_path / file
    save_params(m, path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(ArchiveError):
            load_params(m, path)
    with pytest.raises(IsADirectoryError):
        load_params(m, tmp_path)


def test_a_missing_safetensors_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install fluxmagic\[safetensors\]"):
        save_params(model(), tmp_path / "a.safetensors")
