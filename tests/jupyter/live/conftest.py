"""Real kernels, in which a cell or a panel trains, and the page that shows them."""

from __future__ import annotations

import pytest

from tests.jupyter.kernels import INTERPRETERS, Kernel
from tests.jupyter.live.training import SETUP


@pytest.fixture(scope="module", params=INTERPRETERS)
def started(request, tmp_path_factory):
    kernel = Kernel(request.param, str(tmp_path_factory.mktemp("kernel")))
    kernel.run(SETUP)
    yield kernel
    kernel.stop()


@pytest.fixture
def kernel(started):
    yield started
    started.calm()


@pytest.fixture(params=["shell", "subshell"])
def page(request, kernel):
    """A kernel, and the way by which the page sends what widgets say."""
    if request.param == "subshell":
        kernel.use_subshell()
    return kernel
