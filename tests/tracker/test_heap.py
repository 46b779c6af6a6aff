"""Memory of freed arrays stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
{imported}

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    [np.ones(1 << 17) for _ in range(8)]  # 8 MB at once

for _ in range(5):
    step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_arrays_of_a_step_do_not_fetch_their_memory_anew():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}  # a worker of Dask sets some
    without, with_package = (
        int(subprocess.check_output([sys.executable, "-c", CODE.format(imported=line)], env=environment))
        for line in ("", "import fluxmagic")
    )
    assert with_package < 500
    assert without > 10 * with_package
