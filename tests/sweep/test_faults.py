"""Workers that die, hang, lack a package; executors and clients that are gone: each trial ends once."""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest

from fluxmagic import Sweep, param
from fluxmagic.sweep.places import Lost, OnDask
from tests.sweep.problems import bits, net_sweep

pytest.importorskip("cloudpickle")
pytest.importorskip("loky")


def deadly(flags, times, η=0.0625):
    """A loss in whose 8th step the process of the trial with this η dies, so many times."""
    W = param(np.array(4.0))
    parent = os.getpid()

    def loss(x):
        if os.getpid() != parent and abs(W.data - 4 * (1 - 2 * η) ** 7) < 1e-12:
            for i in range(times):
                try:
                    os.close(os.open(flags / str(i), os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return (W - x) ** 2

    return loss, W


def make(tmp_path, times, on, **options):
    loss, W = deadly(tmp_path, times)
    grid = {"η": [0.03125, 0.0625, 0.125, 0.25]}
    return Sweep(loss, [0.0] * 12, [W], grid, on=on, **options)


@pytest.mark.parametrize("where", ["processes", "dask"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_trial_whose_worker_dies_is_run_again_to_the_same_bits(tmp_path, where, times, request):
    on = 2 if where == "processes" else request.getfixturevalue("killable")
    sweep, here = make(tmp_path, times, on), make(tmp_path, 0, None)
    sweep.train()
    here.train()
    assert len(list(tmp_path.iterdir())) == times
    assert sweep.counts == {"done": 4}
    assert [bits(r) for r in sweep] == [bits(r) for r in here]
    assert [t.deaths for t in sweep.trials] == [0, times, 0, 0]


@pytest.mark.parametrize("where", ["processes", "dask"])
def test_after_three_deaths_a_trial_has_failed_and_the_next_sweep_runs(tmp_path, where, request):
    on = 2 if where == "processes" else request.getfixturevalue("killable")
    sweep = make(tmp_path, 9, on)
    sweep.train()
    assert [t.state for t in sweep.trials] == ["done", "failed", "done", "done"]
    assert str(sweep.trials[1].error) == "its worker died three times"
    assert len(list(tmp_path.iterdir())) == 3
    again = make(tmp_path / "x", 0, on)
    again.train()
    assert again.counts == {"done": 4}


def test_an_executor_that_a_death_broke_is_said_to_be_broken(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sweep = make(tmp_path, 1, pool)
        sweep.train()
        assert set(sweep.counts) <= {"done", "failed"}
        failed = [t for t in sweep.trials if t.state == "failed"]
        assert failed
        assert all("the executor cannot be used any more" in str(t.error) for t in failed)
        assert all("pass a new executor, or an integer as `on`" in str(t.error) for t in failed)
        again = make(tmp_path, 0, pool)
        again.train()
        assert again.counts == {"failed": 4}


def test_an_executor_that_was_shut_down_is_said_to_be():
    pool = ProcessPoolExecutor(1)
    pool.shutdown()
    sweep, _ = net_sweep(on=pool)
    sweep.train()
    assert sweep.counts == {"failed": 6}
    assert "the executor cannot be used any more" in str(sweep.trials[0].error)


def test_a_client_that_is_closed_in_mid_sweep_is_said_to_be(cluster):
    import distributed

    client = distributed.Client(cluster, timeout=30)
    sweep, _ = net_sweep({"η": np.linspace(0.001, 0.01, 40)}, epochs=20, on=client)
    sweep.train(cb=lambda: client.close() if sweep.steps >= 2 and client.status == "running" else None)
    assert set(sweep.counts) == {"done", "failed"}
    assert sum(sweep.counts.values()) == 40
    failed = [t for t in sweep.trials if t.state == "failed"]
    assert all("the Dask client cannot be used any more" in str(t.error) for t in failed)
    assert "pass an open client as `on`" in str(failed[0].error)


def hanging(on, timeout):
    """A loss that never ends in its 5th step, where η is 0.0625; the file is there once it hangs."""
    W = param(np.array(4.0))

    def loss(x):
        if abs(W.data - 4 * (1 - 0.125) ** 4) < 1e-12:
            threading.Event().wait(30)
        return (W - x) ** 2

    return Sweep(loss, [0.0] * 12, [W], {"η": [0.03125, 0.0625, 0.125]}, on=on, timeout=timeout)


def test_a_step_that_never_ends_is_killed_where_the_processes_are_ours():
    sweep = hanging(2, 1.5)
    began = time.monotonic()
    sweep.train()
    assert time.monotonic() - began < 25
    assert [t.state for t in sweep.trials] == ["done", "failed", "done"]
    assert "timed out after 1.5 s, in step" in str(sweep.trials[1].error)
    assert "busy" not in str(sweep.trials[1].error)


def test_elsewhere_its_worker_stays_busy_and_the_message_says_so():
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(2)
    sweep = hanging(pool, 1.5)
    sweep.train()
    assert [t.state for t in sweep.trials] == ["done", "failed", "done"]
    assert "executor stays busy with that step" in str(sweep.trials[1].error)
    pool.shutdown(wait=False)


def test_where_every_worker_hangs_the_rest_is_said_to_have_none():
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    sweep = hanging(pool, 1.0)
    sweep.train()
    assert [t.state for t in sweep.trials] == ["done", "failed", "failed"]
    assert "1 is busy with steps that do not end" in str(sweep.trials[2].error)
    pool.shutdown(wait=False)


@pytest.mark.parametrize("where", ["processes", "dask", "pool"])
def test_stop_answers_within_a_second_and_a_second_sweep_runs(where, request):
    on = {"processes": 2}.get(where) or request.getfixturevalue({"dask": "client", "pool": "pool"}[where])
    W = param(np.array(4.0))

    def loss(x):
        threading.Event().wait(0.3)
        return (W - x) ** 2

    sweep = Sweep(loss, [0.0] * 20, [W], {"η": [0.01 * (i + 1) for i in range(8)]}, on=on)
    stopped = []

    def stop():
        while not any(t.step for t in sweep.trials):
            pass
        stopped.append(time.monotonic())
        sweep.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    sweep.train()
    answered = time.monotonic() - stopped[0]
    thread.join()
    print(f"Stop on {where}: {answered:.2f} s")
    assert sweep.state == "stopped"
    assert set(sweep.counts) == {"cancelled"}
    again, _ = net_sweep(on=on)
    again.train()
    assert again.counts == {"done": 6}


def test_an_interrupt_takes_back_what_is_on_its_way():
    sweep, _ = net_sweep(on=2)
    with pytest.raises(KeyboardInterrupt):
        sweep.train(cb=lambda: signal.raise_signal(signal.SIGINT) if sweep.steps >= 2 else None)
    assert set(sweep.counts) <= {"done", "cancelled"}
    here, _ = net_sweep()
    here.train()
    sweep.train()
    assert [bits(r) for r in sweep] == [bits(r) for r in here]


def _pretend(version):
    np.__version__ = version


def test_a_worker_with_another_numpy_is_refused_with_both_versions(client):
    mine = np.__version__
    client.run(_pretend, "1.99.0")
    try:
        sweep, _ = net_sweep(on=client)
        sweep.train()
    finally:
        client.run(_pretend, mine)
    assert sweep.counts == {"failed": 6}
    assert f"the sweep has NumPy {mine}, and here 1.99.0" in str(sweep.trials[0].error)


def test_the_other_workers_go_on_without_one_that_cannot_work(client):
    mine, worker = np.__version__, next(iter(client.nthreads()))
    client.run(_pretend, "1.99.0", workers=[worker])
    try:
        sweep, _ = net_sweep(on=client)
        sweep.train()
    finally:
        client.run(_pretend, mine, workers=[worker])
    assert sweep.counts == {"done": 6}


def test_a_package_that_a_worker_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def square(x):\n    return x * x\n")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(int).result()  # its path is fixed from here on
        monkeypatch.syspath_prepend(tmp_path)
        from only_here import square

        W = param(1.0)
        sweep = Sweep(lambda x: square(W - x), [0.5], [W], {"η": [0.1]}, on=pool)
        sweep.train()
    assert sweep.counts == {"failed": 1}
    assert "No module named 'only_here'" in str(sweep.trials[0].error)


def test_a_worker_that_was_killed_while_idle_costs_no_trial():
    sweep, _ = net_sweep(on=2)
    import psutil

    me = psutil.Process()
    kills = []

    def kill():
        if sweep.steps in (1, 3) and len(kills) < 2:
            children = [p for p in me.children() if p.status() != "zombie" and "popen_loky" in " ".join(p.cmdline())]
            kills.append(children[0].pid)
            children[0].kill()

    sweep.train(cb=kill)
    here, _ = net_sweep()
    here.train()
    assert len(kills) == 2
    assert sweep.counts == {"done": 6}
    assert [bits(r) for r in sweep] == [bits(r) for r in here]


def test_a_job_for_a_dask_worker_that_is_gone_is_not_taken(killable):
    place = OnDask(killable, SimpleNamespace(name="s", needs=[], blobs={}, nbytes=0))
    worker, pid = next(iter(killable.run(os.getpid).items()))
    os.kill(pid, signal.SIGKILL)
    while worker in killable.nthreads():
        pass
    with pytest.raises(Lost, match=f"{worker} is gone") as lost:
        place.result(place.submit(worker, None))
    assert lost.value.idle


@pytest.mark.parametrize("stops", [False, True])
def test_a_dask_worker_that_dies_with_its_result_holds_up_neither_the_sweep_nor_stop(killable, monkeypatch, stops):
    import distributed

    chosen, killed, gather = [], [], killable.gather

    async def kill_first(task, asynchronous):
        await distributed.wait(task)
        if not chosen and any(t.step for t in sweep.trials):
            chosen.append(task)  # before another result is asked for
            (worker,) = (await killable.who_has([task]))[task.key]
            killed.append((await killable.run(os.getpid, workers=[worker]))[worker])
            os.kill(killed[0], signal.SIGKILL)
            if stops:
                sweep.stop()
                await asyncio.Event().wait()  # its result never comes
        return await gather(task, asynchronous=asynchronous)

    monkeypatch.setattr(killable, "gather", kill_first)
    sweep, _ = net_sweep(on=killable)
    sweep.train()
    assert len(killed) == 1
    assert sweep.state == ("stopped" if stops else "done")
    if stops:
        assert "cancelled" in sweep.counts
        sweep.train()
    here, _ = net_sweep()
    here.train()
    assert [bits(r) for r in sweep] == [bits(r) for r in here]
