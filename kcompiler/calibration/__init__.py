"""Calibration: samples of what a model will see, and the ranges that its tensors take on them.

`data` and `files` read samples, which are untrusted; `preprocess` turns images into inputs;
`histogram` counts values, and `observers` choose from the counts what 8 bits shall cover. `recipe`
is what a user may say about all of it.
"""

from __future__ import annotations

from kcompiler.calibration.data import MOST_SAMPLES, Samples, Source, read_samples
from kcompiler.calibration.histogram import Histogram
from kcompiler.calibration.observers import OBSERVERS, Range, check_observer, observe
from kcompiler.calibration.preprocess import Preprocess, parse_preprocess
from kcompiler.calibration.recipe import Quantization

__all__ = [
    "MOST_SAMPLES",
    "OBSERVERS",
    "Histogram",
    "Preprocess",
    "Quantization",
    "Range",
    "Samples",
    "Source",
    "check_observer",
    "observe",
    "parse_preprocess",
    "read_samples",
]
