"""Who is charged with a death, and what is sent when, in a place that does as the test says."""

from concurrent.futures import Future

from fluxmagic.optimise import SGD
from fluxmagic.sweep.desk import Reply, Report
from fluxmagic.sweep.places import Lost, PlaceError
from fluxmagic.sweep.scheduler import Scheduler
from fluxmagic.sweep.setup import Spec
from fluxmagic.sweep.trial import Trial


def trials(n):
    return [Trial(Spec(i, i, 0, SGD, {}, 1, None)) for i in range(n)]


def report(job, end="done"):
    return Report(job.index, None, end, float(job.index), {}, None, "", 0.0)


class Fake:
    """A place whose workers answer when the test lets them."""

    ours, sent = False, 0

    def __init__(self, capacities, *, stocked_first=False):
        self.capacities, self.stocked_first = dict(capacities), stocked_first
        self.jobs = []  # (worker, job, future), in the order of submission
        self.killed, self.cancelled, self.closed = [], [], False

    def workers(self):
        return dict(self.capacities)

    def submit(self, worker, job):
        if worker not in self.capacities:
            raise Lost("it is gone", idle=True)
        self.jobs.append((worker, job, Future()))
        return self.jobs[-1][2]

    def result(self, future):
        return future.result()

    def cancel(self, future):
        self.cancelled.append(future)
        future.cancel()  # as Dask does, though the worker goes on with it

    def kill(self, worker):
        self.killed.append(worker)

    def close(self):
        self.closed = True

    def answer(self, index, answer):
        """Answer the last open job of a trial; None is that which brings what the sweep needs."""
        found = [f for _, j, f in self.jobs if not f.done() and (j.index if j else None) == index]
        job = next(j for _, j, f in self.jobs if f is found[-1])
        if isinstance(answer, Exception):
            found[-1].set_exception(answer)
        else:
            found[-1].set_result(report(job, answer) if isinstance(answer, str) else answer)

    def on(self, worker):
        """The trials that a worker has."""
        return [j.index if j else None for w, j, f in self.jobs if w == worker and not f.done()]


def scheduler(place, ts, **options):
    return Scheduler(place, [(t, None) for t in ts], options.get("timeout"))


def test_trials_that_share_a_dead_worker_run_alone_next_and_the_innocent_are_not_charged():
    place, ts = Fake({"a": 4}), trials(4)
    s = scheduler(place, ts)
    s.work(0)
    assert place.on("a") == [0, 1, 2, 3]
    for i in range(4):
        place.answer(i, Lost("killed"))
    for _ in range(4):
        s.work(0)
    assert [t.deaths for t in ts] == [0, 0, 0, 0]
    assert len(place.on("a")) == 1
    for deaths in (1, 2, 3):
        while ts[2].deaths < deaths:
            s.work(0)
            i = place.on("a")[0]
            place.answer(i, Lost("killed") if i == 2 else "done")
            s.work(0)
            assert len(place.on("a")) <= 1
    assert ts[2].state == "failed"
    assert str(ts[2].error) == "its worker died three times"
    while not s.finished:
        s.work(0)
        for i in place.on("a"):
            place.answer(i, "done")
        s.work(0)
    assert [t.state for t in ts] == ["done", "done", "failed", "done"]
    assert [t.deaths for t in ts] == [0, 0, 3, 0]


def test_a_worker_that_disappears_takes_its_trials_back():
    place, ts = Fake({"a": 1, "b": 1}), trials(3)
    s = scheduler(place, ts)
    s.work(0)
    del place.capacities["a"]
    s.forget_looks()
    s.work(0)
    assert [t.deaths for t in ts] == [1, 0, 0]
    assert len(place.cancelled) == 1
    assert place.on("b") == [1]
    place.answer(1, "done")
    s.work(0)
    s.work(0)
    assert place.on("b") == [0]


def test_an_idle_worker_that_died_costs_no_trial():
    place, ts = Fake({"a": 1, "b": 1}), trials(2)
    s = scheduler(place, ts)
    s.work(0)
    place.answer(0, "done")
    s.work(0)
    place.answer(1, "")
    del place.capacities["b"]
    s.work(0)
    s.work(0)
    assert ts[1].deaths == 0
    assert place.on("a") == [1]


def test_a_worker_is_sent_what_the_sweep_needs_once_before_its_first_job():
    place, ts = Fake({"a": 2}, stocked_first=True), trials(4)
    s = scheduler(place, ts)
    s.work(0)
    s.work(0)
    assert place.on("a") == [None]
    place.answer(None, Reply("stored", ""))
    s.work(0)
    s.work(0)
    assert place.on("a") == [0, 1]
    assert sum(j is None for _, j, _ in place.jobs) == 1


def test_a_worker_that_goes_on_with_the_next_rung_is_not_sent_again_what_the_sweep_needs():
    place, ts = Fake({"a": 1}, stocked_first=True), trials(2)
    s = scheduler(place, ts[:1])
    s.work(0)
    place.answer(None, Reply("stored", ""))
    s.work(0)
    s.work(0)
    place.answer(0, "done")
    s.work(0)
    assert s.finished
    s.add([(ts[1], None)])
    s.work(0)
    assert place.on("a") == [1]
    assert sum(j is None for _, j, _ in place.jobs) == 1


def test_an_executor_is_sent_what_it_needs_when_it_says_that_it_lacks_it():
    place, ts = Fake({"x": 2}), trials(3)
    s = scheduler(place, ts)
    s.work(0)
    place.answer(0, Reply("missing", "blobs"))
    place.answer(1, Reply("missing", "blobs"))
    s.work(0)
    s.work(0)
    assert place.on("x") == [None]
    place.answer(None, Reply("stored", ""))
    s.work(0)
    s.work(0)
    assert sorted(place.on("x")) == [0, 1]
    for i in (0, 1):
        place.answer(i, "done")
    s.work(0)
    s.work(0)
    assert place.on("x") == [2]


def test_missing_progress_is_sent_along():
    place, ts = Fake({"a": 1}), trials(1)
    ts[0].step = 5
    s = scheduler(place, ts)
    s.work(0)
    place.answer(0, Reply("missing", "progress"))
    s.work(0)
    s.work(0)
    assert ts[0].state == "running"
    place.answer(0, "done")
    s.work(0)
    assert ts[0].state == "done"


def test_a_refused_worker_gets_nothing_more_and_the_last_one_ends_the_sweep():
    place, ts = Fake({"a": 1, "b": 1}), trials(3)
    s = scheduler(place, ts)
    s.work(0)
    place.answer(0, Reply("refused", "a: other NumPy"))
    for _ in range(2):
        s.work(0)
    assert place.on("a") == []
    place.answer(1, Reply("refused", "b: other NumPy"))
    for _ in range(3):
        s.work(0)
    assert s.finished
    assert {t.state for t in ts} == {"failed"}
    assert "a: other NumPy; b: other NumPy" in str(ts[0].error)


def test_a_place_that_is_gone_fails_what_is_left_and_no_trial_ends_twice():
    place, ts = Fake({"a": 1}), trials(3)
    s = scheduler(place, ts)
    s.work(0)
    place.answer(0, "done")
    s.work(0)
    s.work(0)
    place.answer(1, PlaceError("the executor is gone"))
    s.work(0)
    assert [t.state for t in ts] == ["done", "failed", "failed"]
    assert [t.spec.index for t in s.ended] == [0, 1, 2]


def test_a_report_that_comes_after_the_timeout_changes_nothing():
    place, ts = Fake({"a": 2}), trials(1)
    s = scheduler(place, ts, timeout=1e-9)
    s.work(0)
    s.forget_looks()
    s.work(0)
    assert ts[0].state == "failed"
    assert "a stays busy with that step" in str(ts[0].error)
    place.answer(0, "done")
    s.work(0)
    assert ts[0].state == "failed"
    assert len(s.ended) == 1


def test_a_worker_whose_step_does_not_end_gets_no_other_trial_before_it_ends():
    place, ts = Fake({"a": 1, "b": 1}), trials(4)
    s = scheduler(place, ts, timeout=60)
    s.work(0)
    ts[0].seconds = 61.0
    s.forget_looks()
    s.work(0)
    assert ts[0].state == "failed"
    assert (place.on("a"), place.on("b"), place.cancelled) == ([0], [1], [])
    place.answer(1, "done")
    s.work(0)
    s.work(0)
    assert (place.on("a"), place.on("b")) == ([0], [2])
    place.answer(0, "done")
    s.forget_looks()
    s.work(0)
    assert (place.on("a"), place.on("b")) == ([3], [2])


def test_what_is_dropped_stands_where_it_stood():
    place, ts = Fake({"a": 2}), trials(3)
    s = scheduler(place, ts)
    s.work(0)
    s.drop_all()
    assert len(place.cancelled) == 2
    assert [t.state for t in ts] == ["waiting"] * 3
    s.work(0)
    assert {job.index for _, job, _ in place.jobs[-2:]} == {0, 1}


def test_a_cluster_without_workers_is_waited_for_and_then_said_to_be_empty(monkeypatch):
    place, ts = Fake({}), trials(2)
    s = scheduler(place, ts)
    s.work(0)
    assert {t.state for t in ts} == {"waiting"}
    place.capacities["a"] = 1
    s.forget_looks()
    s.work(0)
    assert place.on("a") == [0]
    place.answer(0, "done")
    s.work(0)
    del place.capacities["a"]
    s.forget_looks()
    s.work(0)
    assert ts[1].state == "waiting"
    monkeypatch.setattr("fluxmagic.sweep.scheduler.PATIENCE_SECONDS", 0.0)
    s.work(0)
    assert ts[1].state == "failed"
    assert "there has been no worker for 0 s" in str(ts[1].error)
