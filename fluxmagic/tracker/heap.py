"""Keep the memory of freed arrays in the process.

glibc gives freed arrays of 128 kB and more back to the system, which hands memory out page by page: 60 % of the time of
a step with 10,000 rows through 4-32-16-4.  A large array that is freed raises its limits (M_MMAP_THRESHOLD in
mallopt(3)) to 32 MB for an array and 64 MB at the end of the heap.  No page of it is touched.  Other allocators take no
notice.
"""

from __future__ import annotations

import numpy as np

LARGEST = (1 << 25) - (1 << 13)  # bytes: the greatest size by which glibc raises its limits, less its header

np.empty(LARGEST, np.uint8)
