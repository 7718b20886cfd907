"""What it costs processes to agree: the few numbers of each step, and gradients of the size of a recipe's network.

    torchrun --standalone --nproc-per-node 2 benchmarks/agreement.py [--device cpu] [--repeats 200]

The first process prints, a line a measurement, the time and its own processor time. Run it on free cores.
"""

import argparse
import time
from collections.abc import Callable

import torch

from noisette.base.processes import ALONE, join
from noisette.workflows.device import choose_device

NETWORKS = {"a network of 0.7 million": 699_572, "study": 1_302_724, "a network of 30 million": 30_000_000}
"""Parameters; each has a float32 gradient."""


def median(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of a call, and processor seconds a call."""
    work()
    taken, worked = [], time.process_time()
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[repeats // 2], (time.process_time() - worked) / repeats


def main() -> None:
    """Measure and print."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--device", default="cpu")
    flags.add_argument("--repeats", type=int, default=200)
    given = flags.parse_args()
    device = choose_device(given.device)
    processes = join(device)
    if processes is ALONE:
        raise SystemExit("one process has nobody to agree with: expected torchrun --nproc-per-node 2 or more")

    works: dict[str, Callable[[], object]] = {"loss, seconds and stop": lambda: processes.total(1.0, 2.0)}
    for name, parameters in NETWORKS.items():
        gradient = torch.zeros(parameters, device=device)
        works[f"gradients of {name}, {4 * parameters / 1e6:.1f} MB"] = lambda g=gradient: (
            processes.add(g),
            float(g[0]),  # waits for the device
        )
    for what, work in works.items():
        seconds, worked = median(work, given.repeats)
        if processes.is_first:
            print(
                f"{what}: {1e3 * seconds:.3f} ms, {1e3 * worked:.3f} ms of the processor, processes: {processes.count}"
            )


if __name__ == "__main__":
    main()
