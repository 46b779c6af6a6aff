"""What a file says of a run is checked before anything is built; what was saved can be loaded."""

from __future__ import annotations

import io
import itertools
import os
import pathlib
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest

from fluxmagic import Run, batches, param, params
from fluxmagic.optimise import cosine, exponential
from fluxmagic.runs import ArchiveError, archive
from tests.runs.archives import load, npy, refused, rewrite, spoil, steered, untouched
from tests.runs.problems import X, Y, arrays, everything, line

MOST = 60_000_000  # bytes that a refusal may take


@pytest.fixture
def saved(tmp_path):
    run, m = steered()
    path = tmp_path / "run.npz"
    run.save(path)
    return run, m, path


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
    "true is no step": lambda meta, content: past(meta).update(rejected=[True]),
    "columns": lambda meta, content: content.update(seconds=np.zeros(3)),
    "columns of other kinds": lambda meta, content: content.update(seconds=np.zeros(12, bool)),
    "columns of columns": lambda meta, content: content.update(loss=np.zeros((12, 1))),
    "time": lambda meta, content: content.update(seconds=np.full(12, np.nan)),
    "rows": lambda meta, content: content.update(rows=np.zeros(3, np.uint32)),
    "epochs": lambda meta, content: meta.update(epochs=-1),
    "epochs are no number": lambda meta, content: meta.update(epochs="4"),
    "active optimiser": lambda meta, content: past(meta).update(opt="SGD"),
    "active optimiser at the start": lambda meta, content: meta["start"].update(opt="Momentum"),
    "no state": lambda meta, content: meta["now"]["optimisers"].pop("ADAM"),
    "state of another": lambda meta, content: now(meta).update(name="SGD"),
    "updates": lambda meta, content: now(meta).update(n=-1),
    "state is no number": lambda meta, content: now(meta)["numbers"].update(b1="1"),
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
    "version is no number": lambda meta, content: meta.update(version="1"),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_a_file_that_lies_under_the_right_hash_is_refused(saved, lie):
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
def test_json_that_is_hard_to_take_is_refused(saved, change):
    run, m, path = saved
    raw(path, change)
    refused(path, run, m)


def test_lists_in_lists_under_the_right_hash_are_refused(saved):
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


def test_a_name_that_appears_twice_is_refused(saved):
    run, m, path = saved
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as z:
        z.writestr("loss.npy", npy(np.zeros(12)))
    refused(path, run, m, "appears twice")


@pytest.mark.parametrize("dtype", [object, "S3", "U3", "c16", "M8[s]", "V8", [("a", "f8")]], ids=str)
def test_arrays_of_other_kinds_are_refused(saved, dtype):
    run, m, path = saved
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(12, dtype), allow_pickle=True)
    rewrite(path, lambda meta, content, raw: {**raw, "loss.npy": buffer.getvalue()})
    refused(path, run, m)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_generator_s_position_stays_within_its_state(tmp_path, kind):
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


# -- what was saved can be loaded --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seed",
    [
        np.int64(3),
        [1, 2],
        np.array([1, 2]),
        10**40,
        np.random.SeedSequence(5, spawn_key=(1,)),
        np.random.SeedSequence(5).spawn(2)[1],
        np.random.SeedSequence(),
        np.random.MT19937(3),
        np.random.Generator(np.random.SFC64(3)),
    ],
    ids=["integer", "list", "array", "large", "sequence", "child", "entropy", "bits", "generator"],
)
def test_a_seed_may_be_all_that_numpy_takes(tmp_path, seed):
    W = param(1.0)
    run = Run(lambda x: (W - x.sum()) ** 2, batches(np.arange(9.0), 2), "SGD", epochs=9, seed=seed)
    run.step(7)
    run.save(tmp_path / "a")
    run.train()
    bits = W.data.tobytes()
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    loaded.train()
    assert W.data.tobytes() == bits
    loaded.save(tmp_path / "b")
    Run.load(tmp_path / "b", run.loss, run.data, [W]).replay()
    assert W.data.tobytes() == bits


@pytest.mark.parametrize(
    "name", [pathlib.Path("a") / "b", "η\n\x1b", "\udc80", 3], ids=["path", "control", "byte", "int"]
)
def test_a_name_may_be_anything(tmp_path, name):
    run, W = line(name=name, metrics={str(name): lambda x: 1.0})
    run.train()
    run.save(tmp_path / "a")
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert loaded.name == str(name).encode(errors="backslashreplace").decode()


def test_numbers_of_numpy_in_a_schedule_are_saved(tmp_path):
    run, W = line(hypers={"η": exponential(np.float32(0.25), np.float64(0.5), every=np.int64(7))})
    run.step()
    run.save(tmp_path / "a")
    assert Run.load(tmp_path / "a", run.loss, run.data, [W]).opt.schedules["η"] == exponential(0.25, 0.5, every=7)


def test_a_class_of_one_s_own_that_is_called_like_a_schedule_is_not_taken_for_it(tmp_path):
    class cosine(exponential):
        pass

    run, W = line(hypers={"η": cosine(0.1, 0.5)})
    run.step()
    run.save(tmp_path / "a")
    with pytest.raises(ArchiveError, match="have to be passed again"):
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"eta": cosine(0.1, 0.5)})
    with pytest.raises(TypeError, match=r"η is a function of the number of updates, or a list, not 0\.1"):
        Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": 0.1})


def test_several_schedules_of_one_s_own_for_one_dial_are_told_apart(tmp_path):
    f, g = (lambda n: 0.1 / (1 + n)), (lambda n: 0.2 / (1 + n))
    run, W = line(hypers={"η": f}, epochs=4)
    run.step(2)
    run.set(η=g)
    run.step(2)
    run.set(η=f)
    run.step(2)
    run.save(tmp_path / "a")
    with pytest.raises(ArchiveError, match=r'schedules=\{"η": \[2 functions\]\}'):
        Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": f})
    Run.load(tmp_path / "a").save(tmp_path / "b")  # not there, and told apart all the same
    loaded = Run.load(tmp_path / "b", run.loss, run.data, [W], schedules={"η": [f, g]})
    assert loaded.events == run.events
    loaded.replay()


def test_weights_that_are_not_finite_are_loaded_as_they_were_saved_with_a_warning(tmp_path):
    run, W = line()
    run.step()
    W.data = [-np.inf, 1.0]
    run.save(tmp_path / "a")
    W.data = [0.0, 0.0]
    with pytest.warns(UserWarning, match=r"not finite, as it was saved: now/params/0"):
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert W.data.tolist() == [-np.inf, 1.0]
    W.data = [0.0, 0.0]
    with pytest.raises(UserWarning, match="not finite"):  # warnings are errors here: nothing is assigned then
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert W.data.tolist() == [0.0, 0.0]


def test_closures_with_the_same_place_for_other_parameters_keep_their_own(tmp_path):
    def shifted(start):
        W = param(start)
        return lambda x: W * x, W

    (f, V), (g, W) = shifted(2.0), shifted(3.0)
    layers = [f, g]
    run = Run(lambda x: sum(layer(x) for layer in layers) ** 2, [1.0] * 5, "SGD", hypers={"η": 0.01})
    run.loss.__dict__["names"] = None
    run._names = lambda: {id(V): "W", id(W): "W"}
    run.step()
    before = float(V), float(W)
    run.save(tmp_path / "a")
    V.data, W.data = 0.0, 0.0
    Run.load(tmp_path / "a", run.loss, run.data, run.params)
    assert (float(V), float(W)) == before


def test_a_parameter_without_elements_and_a_scalar_are_saved(tmp_path):
    W, empty = param(1.0), param(np.zeros((0, 3)))
    run = Run(lambda x: (W - x) ** 2 + empty.sum(), [1.0, 2.0], "ADAM")
    run.step()
    run.save(tmp_path / "a")
    Run.load(tmp_path / "a", run.loss, run.data, run.params).replay()


def test_a_run_that_went_back_to_its_start_is_saved(tmp_path):
    run, W = line()
    run.step(3)
    run.rewind(0)
    run.save(tmp_path / "a")
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert (loaded.steps, loaded.epoch) == (0, 1)
    loaded.train()


def test_a_dial_turned_just_before_a_save_is_an_event_in_the_file(tmp_path):
    run, W = line(epochs=3)
    run.step(2)
    run.opt.η = 0.05
    run.save(tmp_path / "a")
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert loaded.events[-1][:2] == (2, "η")
    loaded.step(2)
    loaded.replay()


def test_a_run_that_is_saved_from_another_thread_while_it_trains_is_whole(tmp_path):
    run, W = line(epochs=10**9, metrics={"m": lambda x: 0.5})
    run.step()
    trainer = threading.Thread(target=run.train)
    trainer.start()
    try:
        for i in range(20):
            run.set(η=0.1 + i / 1000)
            run.save(tmp_path / str(i))
    finally:
        run.stop()
        trainer.join()
    for i in range(20):
        Run.load(tmp_path / str(i), run.loss, run.data, [W])
    Run.load(tmp_path / "0", run.loss, run.data, [W]).replay()


def test_a_run_is_saved_by_a_callback_a_metric_and_until_but_not_by_its_loss(tmp_path):
    W = param([4.0, -2.0])
    run = None

    def loss(x):
        if run.steps == 9:
            run.save(tmp_path / "loss")
        return ((W - x) ** 2).sum()

    def save(name):
        if run.steps:  # metrics are tried before the first step
            run.save(tmp_path / name)
        return 0.0

    run = Run(
        loss,
        lambda: iter([0.0, 1.0, 2.0]),
        "ADAM",
        epochs=9,
        metrics={"m": lambda x: save(f"metric {run.steps}")},
        until=lambda run: save(f"until {run.steps}"),
    )
    with pytest.raises(RuntimeError, match="cannot be saved by its own loss, in the middle of a step"):
        run.train(cb=lambda: save(f"callback {run.steps}"))
    names = sorted(os.listdir(tmp_path))
    assert len(names) == 9 + 3 + 3
    for name in names:
        run = None
        run = Run.load(tmp_path / name, loss, lambda: iter([0.0, 1.0, 2.0]), [W])
        assert run.steps == int(name.split()[1])
        run.replay()


# -- to look at --------------------------------------------------------------------------------------------------------


def test_a_run_can_be_loaded_to_be_looked_at(saved, tmp_path):
    run, m, path = saved
    looked = Run.load(path)
    assert looked.events == run.events
    assert {k: v.tobytes() for k, v in looked.history.items()} == {k: v.tobytes() for k, v in run.history.items()}
    assert (repr(looked), looked.name, looked.epoch, looked.values) == (repr(run), run.name, run.epoch, run.values)
    assert [p.data.tobytes() for p in looked.params] == [p.data.tobytes() for p in params(m)]
    assert looked.snapshot().keys() == run.snapshot().keys()
    before = everything(looked)
    for f in (looked.step, looked.train, lambda: looked.rewind(3), looked.replay, lambda: looked.advance(1.0)):
        with pytest.raises(RuntimeError, match=r"cannot train or replay. Run.load\('.*', loss"):
            f()
        assert (everything(looked), looked.state) == (before, "paused")
    looked.save(tmp_path / "again")
    again = load(tmp_path / "again", run, m)
    again.replay()
    assert arrays(again) == arrays(run)


def test_one_s_own_schedule_is_not_needed_to_look(tmp_path):
    run, _ = line(hypers={"η": lambda n: 0.1 / (1 + n)})
    run.step(3)
    run.set(η=cosine(0.1, 5))
    run.step(1)
    run.save(tmp_path / "a")
    η = Run.load(tmp_path / "a").history["η"]
    assert np.isnan(η[:3]).all()
    assert η[3] == run.history["η"][3]


def test_a_run_without_data_can_be_looked_at(tmp_path):
    W = param(1.0)
    run = Run(lambda: (W - 3.0) ** 2, None, "SGD", steps=9)
    run.step(4)
    run.save(tmp_path / "a")
    looked = Run.load(tmp_path / "a")
    assert (repr(looked), looked.events) == (repr(run), run.events)
    assert looked.history["loss"].tolist() == run.history["loss"].tolist()
    looked.save(tmp_path / "b")
    loaded = Run.load(tmp_path / "b", run.loss, None, [W])
    loaded.train()
    assert loaded.steps == 9


def test_turns_to_come_are_in_the_file_with_their_schedules(tmp_path):
    f = lambda n: 0.1 / (1 + n)
    W = param([1.0, 2.0])
    turns = [(2, "η", None, cosine(0.1, 5)), (3, "opt", None, "ADAM"), (5, "η", None, f)]
    run = Run(lambda x: ((W - x) ** 2).sum(), [1.0] * 9, "SGD", turns=turns)
    run.step(1)
    run.save(tmp_path / "a")
    run.train()
    bits = W.data.tobytes()
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": f})
    loaded.train()
    assert W.data.tobytes() == bits
    assert loaded.events == run.events


def test_loss_without_data_is_an_error(saved):
    run, _, path = saved
    with pytest.raises(TypeError, match="all of loss, data and params, or none of them"):
        Run.load(path, run.loss)


def test_the_package_s_version_is_in_the_file(saved):
    meta = archive.read(saved[2], "run")[0]
    assert meta["fluxmagic"] == __import__("fluxmagic").__version__
    assert meta["environment"]["numerics"] >= 1
