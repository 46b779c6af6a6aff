"""A log has every loss that was shown, also after the process is killed."""

from __future__ import annotations

import json
import math
import os

import pytest

from fluxmagic import NotFinite
from fluxmagic.optimise import exponential
from tests.runs.problems import line
from tests.runs.processes import child, printed


def lines(path):
    return [json.loads(l) for l in path.read_text().splitlines()]


def test_a_line_for_each_step_epoch_and_turn(tmp_path):
    path = tmp_path / "log.jsonl"
    run, _ = line(log=path, epochs=2, metrics={"m": lambda x: 0.5}, hypers={"η": 0.1})
    run.step(3)
    run.set(η=exponential(0.1, 0.5))
    run.step(2)
    run.swap("ADAM")
    entries = lines(path)
    assert [e["step"] for e in entries if "loss" in e] == [1, 2, 3, 4, 5]
    assert [e["loss"] for e in entries if "loss" in e] == run.history["loss"].tolist()
    assert [(e["epoch"], e["step"], e["m"]) for e in entries if "epoch" in e] == [(1, 4, 0.5)]
    assert [(e["event"], e["step"]) for e in entries if "event" in e] == [("η", 3), ("opt", 5)]


def test_a_rewind_is_logged_and_a_recomputed_step_is_not(tmp_path):
    path = tmp_path / "log.jsonl"
    run, _ = line(log=path)
    run.train()
    run.rewind(2)
    run.replay()
    assert [e.get("step", "rewind") for e in lines(path)] == [1, 2, 3, 4, 4, "rewind"]


def test_a_loss_that_is_not_finite_is_valid_json(tmp_path):
    path = tmp_path / "log.jsonl"
    run, _ = line(log=path, data=[math.nan])
    with pytest.raises(NotFinite):
        run.step()
    assert lines(path)[0]["loss"] == "nan"


def test_a_new_line_follows_one_that_was_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    run, _ = line(log=path)
    run.step()
    assert json.loads(path.read_text().splitlines()[2])["step"] == 1


def test_no_line_is_lost_or_joined_after_a_full_disk(tmp_path):
    code = """
import os, resource, signal
from tests.runs.problems import line
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run, _ = line(epochs=1000, log="log")
run.step(20)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize("log") + 30, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        run.step(5)
    except OSError as error:
        print(error.errno, run.steps)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
run.step(5)
"""
    assert printed(code, cwd=tmp_path).splitlines() == ["27 21", "27 22"]
    assert [e["step"] for e in lines(tmp_path / "log") if "loss" in e] == list(range(1, 28))


def test_a_log_refuses_folders_pipes_and_devices(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(OSError, match="is a device, a pipe or a socket, not a regular file"):
            line(log=path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        line(log=tmp_path)


def test_a_name_that_is_not_valid_text_is_escaped(tmp_path):
    path = tmp_path / "log.jsonl"
    run, _ = line(log=path, metrics={"\udc80": lambda x: 0.5, "η\n": lambda x: 1.0})
    run.train()
    assert next(e for e in lines(path) if "epoch" in e).keys() >= {"\udc80", "η\n"}


def test_a_killed_process_has_logged_all_losses_it_showed(tmp_path):
    code = """
from tests.runs.problems import line
line(epochs=10**9, log="log")[0].train(cb=lambda l: print(l, flush=True))
"""
    with child(code, cwd=tmp_path) as trains:
        shown = [float(trains.stdout.readline()) for _ in range(200)]
        trains.kill()
        shown += [float(l) for l in trains.stdout.read().splitlines(keepends=True) if l.endswith("\n")]
    logged = [e["loss"] for e in lines(tmp_path / "log") if "loss" in e]
    assert logged[: len(shown)] == shown
