"""Search for faults with random models and damaged files.

    python -m benchmarks.fuzz [--minutes M] [--cpu SECONDS] [--seed S] [--only KIND]
        [--folder FOLDER]

Four kinds of cases take turns: random valid models, compared with onnxruntime and ONNX's
reference; damaged model files; damaged packages; damaged texts, options and arrays. Prints how
many were tried and of which operators, and what was found. Each fault's model is saved with its
inputs, or the file, in the folder. An interrupt ends the search, and prints what was done until
then. Exit code 1: there is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from tests.fuzz.campaign import Campaign
from tests.fuzz.tasks import KINDS


def main() -> int:
    """Run for the time given."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--cpu", type=float, default=float("inf"), help="CPU seconds of the cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, action="append", help="may be given several times")
    parser.add_argument("--folder", type=Path, default=Path("build") / "fuzz")
    options = parser.parse_args()
    campaign = Campaign(options.seed, tuple(options.only or KINDS), options.folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        campaign.run(seconds=options.minutes * 60, cpu=options.cpu)
    print(campaign.report())
    return 1 if campaign.found else 0


if __name__ == "__main__":
    sys.exit(main())
