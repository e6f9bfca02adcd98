"""What becomes of a case of ONNX's suite, and where its nodes run."""

from __future__ import annotations

from dataclasses import dataclass

NPU, KNOWN, PARTLY, HOST = "npu", "known", "partly", "host"
"""Where the nodes of a case ran: all on the NPU, all while compiling, on both, all on the host."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case. `status` is pass, wrong, error, crash or timeout."""

    name: str
    group: str
    operator: str
    status: str = "pass"
    detail: str = ""
    where: str = ""
    reasons: tuple[str, ...] = ()  # why nodes are on the host
