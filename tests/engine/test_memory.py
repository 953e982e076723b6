"""Memory that a training keeps for its next step."""

import os
import platform
import subprocess
import sys

import pytest

# Pages that the system had to provide for the third of three equal blocks.
SCRIPT = """
import resource, torch
from wecromcl_d2.engine.memory import keep_memory

def provided():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64, 1 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_memory()
provided(), provided()
print(provided())
"""


def pages_of_the_third_block(**settings):
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=own | {"OMP_NUM_THREADS": "1"} | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc returns freed blocks at once"
)
def test_a_block_of_memory_is_used_again_unless_the_environment_says_otherwise():
    # 64 MB are 16,384 pages of 4 kB, or 32 of 2 MB where the system gives these by itself; a block
    # may start up to 2 MB later than the one before.
    assert pages_of_the_third_block() < 1024
    assert pages_of_the_third_block(MALLOC_TRIM_THRESHOLD_="131072") >= 32
