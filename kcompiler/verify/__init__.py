"""The ladder of checks that a compiled model climbs before anyone is told that it works.

1. Hazards: nothing in the program's bytes may happen in two orders.
2. Kernels: each one's result, from the inputs that the simulator has when it starts, lies inside
   an error bound computed from those inputs (integers: bit for bit).
3. The audit: what the bytes touch, write, multiply, wait for and take keeps every promise.
4. The model: its outputs beside those of onnxruntime in float32.

The first rung that breaks names the place: the kernel, the element, the tile and the instruction.
"""

from kcompiler.verify.audit import Audit, audit
from kcompiler.verify.inputs import sample_inputs
from kcompiler.verify.ladder import verify
from kcompiler.verify.layers import LayerError, layer_errors
from kcompiler.verify.result import Failure, OutputError, Verification

__all__ = [
    "Audit",
    "Failure",
    "LayerError",
    "OutputError",
    "Verification",
    "audit",
    "layer_errors",
    "sample_inputs",
    "verify",
]
