"""What memory costs that was not touched for a while: `python benchmarks/idle_memory.py`.

A virtual machine whose host watches idle memory pays at the first touch of a page (4 kB). Then a
process that was idle for a second, as a server between two readers, runs slower than a busy one.
"""

import time

import numpy as np

PAGES, BYTES = 16_384, 4096  # 64 MB in all
TOUCHED = 2000
IDLE = (0.0, 0.05, 0.2, 1.0, 2.0, 5.0)  # seconds
ROUNDS = 3


def touched(block: np.ndarray, places: np.ndarray) -> float:
    """Microseconds of CPU for the touch of a page."""
    start = time.process_time()
    block[places].sum()
    return 1e6 * (time.process_time() - start) / len(places)


def main() -> None:
    """Print the cost of a touch after pauses of some lengths."""
    block = np.ones(PAGES * BYTES, np.uint8)
    places = np.random.default_rng(0).permutation(PAGES)[:TOUCHED] * BYTES
    touched(block, places)
    print(f"{'idle for':>10}{'a touch, us of CPU':>22}")
    for seconds in IDLE:
        costs = []
        for _ in range(ROUNDS):
            time.sleep(seconds)
            costs.append(touched(block, places))
        print(f"{seconds:8.2f} s{np.median(costs):22.3f}")


if __name__ == "__main__":
    main()
