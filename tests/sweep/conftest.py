"""Two Dask clusters on this machine, a quiet one and one for kills, and executors, ended with their tests."""

from __future__ import annotations

import os

import pytest

from tests.jupyter.conftest import bare, ip, page, shell
from tests.sweep.chaos import LOCAL, steady_cluster

__all__ = ["bare", "ip", "page", "shell"]


@pytest.fixture(scope="session")
def cluster():
    """A cluster with two worker processes, on 127.0.0.1 alone, for tests that kill none of them."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **LOCAL) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of the cluster, with both workers there."""
    import distributed

    with distributed.Client(cluster, timeout=30) as client:
        client.wait_for_workers(2, timeout=30)
        yield client


@pytest.fixture(scope="session")
def killable_cluster():
    """A client of another cluster, whose two workers are replaced whenever they die."""
    pytest.importorskip("distributed")
    with steady_cluster() as client:
        yield client


@pytest.fixture
def killable(killable_cluster):
    """That client, with both workers there."""
    killable_cluster.wait_for_workers(2, timeout=60)
    return killable_cluster


@pytest.fixture
def pool():
    """An executor of the user's with two processes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pytest.importorskip("cloudpickle")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=["processes", "pool", "threads", "dask"])
def place(request):
    """Each place that is not this thread."""
    pytest.importorskip("cloudpickle")
    if request.param == "processes":
        pytest.importorskip("loky")
        yield 2
    elif request.param == "threads":
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as threads:
            yield threads
    else:
        yield request.getfixturevalue({"pool": "pool", "dask": "client"}[request.param])


@pytest.fixture(autouse=True)
def _one_blas_thread():
    """Compute here with one thread of BLAS, as workers do."""
    if os.environ.get("OPENBLAS_NUM_THREADS") == "1":
        yield
        return
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
