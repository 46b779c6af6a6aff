"""A file that claims what cannot be is refused before anything is changed or memory is taken."""

from __future__ import annotations

import io
import itertools
import tracemalloc
import zipfile

import numpy as np
import pytest

from fluxmagic import Run, batches, param, params
from fluxmagic.runs import ArchiveError, archive
from tests.runs.archives import npy, refused, rewrite, spoil, untouched
from tests.runs.problems import X, Y

MOST = 60_000_000  # bytes that a refusal may take


def past(meta):
    return meta["record"]


def now(meta):
    return meta["now"]["optimisers"]["ADAM"]


LIES = {
    "wrong shape": lambda meta, content: content.update({"now/params/0": np.zeros((2, 2), np.float32)}),
    "missing array": lambda meta, content: content.pop("now/optimisers/ADAM/m/0"),
    "missing key": lambda meta, content: past(meta).pop("events"),
    "dial out of range": lambda meta, content: now(meta)["hypers"].update({"β1": 2.0}),
    "no such dial": lambda meta, content: now(meta)["hypers"].update(q=2.0),
    "generator": lambda meta, content: meta["now"]["generators"][0].update(bit_generator="x"),
    "generator's number": lambda meta, content: meta["now"]["generators"][0]["state"].update(state=-1),
    "generator's flag": lambda meta, content: meta["now"]["generators"][0].update(has_uint32=7),
    "large generator": lambda meta, content: meta["now"]["generators"][0].update(
        state={"ndarray": ["x"], "dtype": "U20000000"}
    ),
    "no generator": lambda meta, content: meta["now"].update(generators=[]),
    "no generator of the epoch": lambda meta, content: meta["now"].update(epoch_start=[]),
    "steps": lambda meta, content: past(meta).update(epochs=[0, 99999]),
    "steps twice": lambda meta, content: past(meta).update(epochs=[0, 5, 5, 10]),
    "first epoch": lambda meta, content: past(meta).update(epochs=[3, 5, 10]),
    "no first epoch": lambda meta, content: past(meta).update(epochs=[]),
    "no list": lambda meta, content: past(meta).update(rejected=3),
    "refused at 0": lambda meta, content: past(meta).update(rejected=[0]),
    "true in place of a step": lambda meta, content: past(meta).update(rejected=[True]),
    "columns": lambda meta, content: content.update(seconds=np.zeros(3)),
    "columns of other kinds": lambda meta, content: content.update(seconds=np.zeros(12, bool)),
    "columns of columns": lambda meta, content: content.update(loss=np.zeros((12, 1))),
    "time": lambda meta, content: content.update(seconds=np.full(12, np.nan)),
    "rows": lambda meta, content: content.update(rows=np.zeros(3, np.uint32)),
    "epochs": lambda meta, content: meta.update(epochs=-1),
    "a text in place of epochs": lambda meta, content: meta.update(epochs="4"),
    "active optimiser": lambda meta, content: past(meta).update(opt="SGD"),
    "active optimiser at the start": lambda meta, content: meta["start"].update(opt="Momentum"),
    "no state": lambda meta, content: meta["now"]["optimisers"].pop("ADAM"),
    "state of another": lambda meta, content: now(meta).update(name="SGD"),
    "updates": lambda meta, content: now(meta).update(n=-1),
    "a text in place of a number of the state": lambda meta, content: now(meta)["numbers"].update(b1="1"),
    "number kept": lambda meta, content: now(meta)["numbers"].update(Πβ1=1.25),
    "number kept that cannot be divided by": lambda meta, content: now(meta)["numbers"].update(unit2=-0.5),
    "dial that is infinite in float32": lambda meta, content: past(meta)["events"].append([12, "η", 0.1, 1e300]),
    "schedule": lambda meta, content: past(meta)["values"].update(η={"schedule": "eval", "arguments": {}}),
    "schedule of everything": lambda meta, content: past(meta)["values"].update(
        η={"schedule": "__all__", "arguments": {}}
    ),
    "schedule's arguments": lambda meta, content: past(meta)["values"].update(
        η={"schedule": "cosine", "arguments": {"q": 1}}
    ),
    "schedule's text": lambda meta, content: past(meta)["values"].update(
        η={"schedule": "cosine", "arguments": {"first": "1", "steps": 2}}
    ),
    "schedule that leaves the bounds": lambda meta, content: past(meta)["values"].update(
        η={"schedule": "onecycle", "arguments": {"peak": 1, "steps": 10, "end": -5}}
    ),
    "schedule that overflows": lambda meta, content: past(meta)["values"].update(
        η={"schedule": "exponential", "arguments": {"first": 1, "factor": 1e300}}
    ),
    "schedule's dial": lambda meta, content: now(meta).update(schedules={"q": {"own": 0}}),
    "schedule that is a number": lambda meta, content: now(meta).update(schedules={"η": 0.5}),
    "events": lambda meta, content: past(meta)["events"].append(["a", "η", 0, 1]),
    "event's end": lambda meta, content: past(meta)["events"].append([12, "η", 0]),
    "event's order": lambda meta, content: past(meta)["events"].append([1, "η", 0.1, 0.2]),
    "event's name": lambda meta, content: past(meta)["events"].append([12, "<b>", 0.1, 0.2]),
    "event's name is code": lambda meta, content: past(meta)["events"].append([12, 'η=1); print("x"', 0.1, 0.2]),
    "event of another optimiser": lambda meta, content: past(meta)["events"].append([12, "ρ", 0.9, 0.8]),
    "swap to nothing": lambda meta, content: past(meta)["events"].append([12, "opt", "ADAM", "eval"]),
    "swap to code": lambda meta, content: past(meta)["events"].append([12, "opt", "ADAM", '"); print("x']),
    "swap from another": lambda meta, content: past(meta)["events"].append([12, "opt", "SGD", "ADAM"]),
    **{
        f"event's value {value!r}": lambda meta, content, value=value: past(meta)["events"].append(
            [12, "η", 0.1, value]
        )
        for value in ("abc", [1], None, -5, float("nan"), True, float("inf"), 10**400, {}, {"schedule": ["cosine"]})
    },
    "event's old value": lambda meta, content: past(meta)["events"].append([12, "η", "<img>", 0.1]),
    "check's name and value": lambda meta, content: past(meta)["evaluations"].append([12, {"valid": "high"}]),
    "check's step": lambda meta, content: past(meta)["evaluations"].append([0, {"valid": 1.0}]),
    "check": lambda meta, content: past(meta)["evaluations"].append([1]),
    "put back": lambda meta, content: past(meta)["restored_weights"].append([5, 9]),
    "position": lambda meta, content: meta["now"].update(position=10**9),
    "another position": lambda meta, content: meta["now"].update(position=1),
    "position at the start": lambda meta, content: meta["start"].update(position=0),
    "step at the start": lambda meta, content: meta["start"].update(step=2),
    "seed": lambda meta, content: meta.update(seed="x"),
    "seed's size": lambda meta, content: meta.update(seed=-1),
    "seed's kind": lambda meta, content: meta.update(seed={"bit_generator": "seed"}),
    "seed sequence": lambda meta, content: meta.update(
        seed={"entropy": 1, "spawn_key": [], "pool_size": 10**12, "n_children_spawned": 0}
    ),
    "name": lambda meta, content: meta.update(name=["x"]),
    "state": lambda meta, content: meta.update(state="<b>running</b>"),
    "environment": lambda meta, content: meta.update(environment={"NumPy": ["2.0"]}),
    "environment's text": lambda meta, content: meta.update(environment={"NumPy": "2.0\n\x1b[31mred"}),
    "parameter that is not there": lambda meta, content: meta["params"].append("W"),
    "parameter's name": lambda meta, content: meta["params"].__setitem__(0, 3),
    "buffers": lambda meta, content: meta.update(buffers=10**12),
    "buffer's shape": lambda meta, content: content.update({"now/buffers/1": np.zeros(7, np.float32)}),
    "two ends": lambda meta, content: meta.update(steps=99),
    "no end": lambda meta, content: meta.update(epochs=None),
    "own schedule's number": lambda meta, content: past(meta)["values"].update(η={"own": -1}),
    "own schedule of a large number": lambda meta, content: past(meta)["values"].update(η={"own": 10**15}),
    "version": lambda meta, content: meta.update(version=0),
    "a text in place of the version": lambda meta, content: meta.update(version="1"),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_false_content_under_the_right_hash_is_refused(saved, lie):
    run, m, path = saved
    rewrite(path, lambda meta, content, raw: str(LIES[lie](meta, content)))
    refused(path, run, m)
    with pytest.raises(ArchiveError):
        Run.load(path)


def raw(path, change):
    """Rewrite the text of the JSON in a file."""
    with zipfile.ZipFile(path) as z:
        members = {name: z.read(name) for name in z.namelist()}
    members["meta.json"] = change(members["meta.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"paused"', '"\\ud800"'),
        lambda text: text.replace('"paused"', "[" * 990 + "]" * 990),
        lambda text: text.replace('"paused"', "[" * 100_000 + "]" * 100_000),
        lambda text: text.replace('"paused"', '{"a":' * 990 + "1" + "}" * 990),
        lambda text: text.replace('"paused"', "9" * 100_000),
        lambda text: text.replace('"paused"', "1e999999999"),
        lambda text: "[" * 10**6,
        lambda text: "null",
        lambda text: "\ufeff" + text,
    ],
    ids=["surrogate", "lists", "many lists", "objects", "digits", "exponent", "no end", "null", "mark"],
)
def test_json_with_extreme_values_or_nesting_is_refused(saved, change):
    run, m, path = saved
    raw(path, change)
    refused(path, run, m)


def test_deeply_nested_lists_under_the_right_hash_are_refused(saved):
    run, m, path = saved
    lists = []
    for _ in range(300):
        lists = [lists]
    for place in ("state", "environment", "events", "seed", "params"):
        rewrite(path, lambda meta, content, raw, place=place: str(meta.update({place: lists})))
        refused(path, run, m)


@pytest.mark.parametrize("large", ["dtype", "many members", "position", "shape", "buffers"])
def test_a_refusal_takes_little_memory(saved, large):
    run, m, path = saved
    data = run.data
    if large == "many members":
        with zipfile.ZipFile(path, "a") as z:
            for i in range(5000):
                z.writestr(f"a{i}.npy", b"")
    elif large == "shape":
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000, 1000000000000), }\n"
        lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        rewrite(path, lambda meta, content, raw: {**raw, "loss.npy": lie})
    else:

        def change(meta, content, raw):
            if large == "dtype":
                meta["now"]["generators"][0] = {"ndarray": ["x"] * 9, "dtype": "U20000000"}
            elif large == "position":
                meta["now"]["position"] = 10**15
            else:
                meta["buffers"] = 1 << 40

        rewrite(path, change)
        if large == "position":
            data = lambda: itertools.repeat((X[:5], Y[:5]))
    before = spoil(m)
    tracemalloc.start()
    try:
        for arguments in ((run.loss, data, params(m)), ()):
            with pytest.raises(ArchiveError):
                Run.load(path, *arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST
    assert untouched(m, before)


def test_two_members_of_one_name_are_refused(saved):
    run, m, path = saved
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as z:
        z.writestr("loss.npy", npy(np.zeros(12)))
    refused(path, run, m, "appears twice")


@pytest.mark.parametrize("dtype", [object, "S3", "U3", "c16", "M8[s]", "V8", [("a", "f8")]], ids=str)
def test_arrays_of_other_dtypes_are_refused(saved, dtype):
    run, m, path = saved
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(12, dtype), allow_pickle=True)
    rewrite(path, lambda meta, content, raw: {**raw, "loss.npy": buffer.getvalue()})
    refused(path, run, m)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_generator_position_outside_its_state_is_refused(tmp_path, kind):
    W = param(1.0)
    rng = np.random.Generator(getattr(np.random, kind)(3))
    run = Run(lambda x: (W - x.sum()) ** 2, batches(np.arange(9.0), 3, rng=rng), "SGD", epochs=9)
    run.step(2)
    path = tmp_path / "a"
    run.save(path)
    run.step(3)
    bits = W.data.tobytes()
    loaded = Run.load(path, run.loss, run.data, [W])
    loaded.step(3)
    assert W.data.tobytes() == bits
    i = next(i for i, g in enumerate(run.training.generators) if g is rng)
    for k, value in (("pos", 625), ("pos", -1), ("buffer_pos", 5), ("uinteger", 1 << 40)):

        def change(meta, content, raw, k=k, value=value):
            state = meta["now"]["generators"][i]
            inner = state if k in state else state["state"]
            if k not in inner:
                return
            inner[k] = value

        run.save(path)
        rewrite(path, lambda *a: str(change(*a)))
        state = archive.read(path, "run")[0]["now"]["generators"][i]
        if k in state or k in state["state"]:
            with pytest.raises(ArchiveError, match=k):
                Run.load(path, run.loss, run.data, [W])


@pytest.mark.parametrize("kind", ["MT19937", "Philox", "SFC64"])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x["ndarray"].pop(),
        lambda x: x["ndarray"].append(0),
        lambda x: x.update(ndarray=[x["ndarray"]]),
        lambda x: x.update(ndarray=x["ndarray"][0]),
        lambda x: x["ndarray"].__setitem__(0, 1 << 64),
        lambda x: x["ndarray"].__setitem__(0, -1),
        lambda x: x["ndarray"].__setitem__(0, 0.5),
        lambda x: x["ndarray"].__setitem__(0, "1"),
        lambda x: x.update(dtype="<f8"),
        lambda x: x.update(dtype="U20000000"),
        lambda x: x.clear(),
    ],
    ids=["short", "long", "two axes", "scalar", "large", "negative", "fraction", "text", "floats", "texts", "empty"],
)
def test_a_generator_array_of_another_shape_or_dtype_is_refused(tmp_path, kind, change):
    W = param(1.0)
    run = Run(lambda x: (W - x) ** 2, [1.0] * 4, "SGD", seed=getattr(np.random, kind)(3))
    run.step(2)
    run.save(tmp_path / "a")

    def lie(meta, content, raw):
        state = next(s for s in meta["now"]["generators"] if s["bit_generator"] == kind)["state"]
        change(next(x for x in state.values() if isinstance(x, dict)))

    Run.load(tmp_path / "a", run.loss, run.data, [W])
    rewrite(tmp_path / "a", lambda *a: str(lie(*a)))
    with pytest.raises(ArchiveError):
        Run.load(tmp_path / "a", run.loss, run.data, [W])
