"""onnxruntime's quantizers, as a peer to measure against."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import Array

STATIC: dict[str, dict[str, Any]] = {
    "QDQ per tensor, min-max": {},
    "QDQ per channel, min-max": {"per_channel": True},
}
"""Its percentile and entropy calibrations take minutes for these samples: see `SLOW`."""
SLOW: dict[str, dict[str, Any]] = {
    "QDQ per channel, percentile": {"per_channel": True, "calibrate_method": "Percentile"},
    "QDQ per channel, entropy": {"per_channel": True, "calibrate_method": "Entropy"},
}


def session(path: Path) -> Any:
    """A session on one core; int8 activations are fused on x86 only when it is told so."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    return onnxruntime.InferenceSession(path, options)


class _Reader:
    """What `quantize_static` draws samples from."""

    def __init__(self, samples: Mapping[str, Array]) -> None:
        self.samples = samples
        self.drawn = 0

    def get_next(self) -> dict[str, Array] | None:
        """One run's inputs."""
        number, self.drawn = self.drawn, self.drawn + 1
        if number >= len(next(iter(self.samples.values()))):
            return None
        return {
            name: np.ascontiguousarray(v[number : number + 1]) for name, v in self.samples.items()
        }


def static(
    path: Path, folder: Path, samples: Mapping[str, Array], ways: Mapping[str, Any] = STATIC
) -> Iterator[tuple[str, Path]]:
    """The model by `quantize_static` in several ways, calibrated on samples one by one."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)
    prepared, quantized = folder / "prepared.onnx", folder / "quantized.onnx"
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    for name, how in ways.items():
        options = dict(how)
        if "calibrate_method" in options:
            options["calibrate_method"] = CalibrationMethod[options["calibrate_method"]]
        reader: Any = _Reader(samples)
        quantize_static(prepared, quantized, reader, quant_format=QuantFormat.QDQ, **options)
        yield name, quantized


def nbits(path: Path, folder: Path, size: int) -> Iterator[tuple[str, Path]]:
    """The model with MatMulNBits of 4 bits: with zero points, without, and by its k-quant.

    Its other ways need torch (HQQ) or data (GPTQ).
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        KQuantWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    logging.getLogger().setLevel(logging.ERROR)
    quantized = folder / "quantized.onnx"
    for kind in ("asymmetric", "symmetric", "k-quant"):
        how = KQuantWeightOnlyQuantConfig() if kind == "k-quant" else None
        model, symmetric = onnx.load(path), kind == "symmetric"
        made = MatMulNBitsQuantizer(model, 4, size, symmetric, algo_config=how)
        with redirect_stdout(io.StringIO()):  # it draws a bar
            made.process()
        onnx.save(made.model.model, quantized)
        count = sum(n.op_type == "MatMulNBits" for n in made.model.model.graph.node)
        yield f"{count} MatMulNBits {kind}, {size}", quantized
