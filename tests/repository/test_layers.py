"""The layers: the kernel names no pass and no NPU; a pass no target; a target no other target."""

import pytest

from tests.repository.layers import violations
from tests.repository.tree import modules, read

PRODUCT = ("kcompiler/", "passes/", "targets/")


def test_layers_hold() -> None:
    product = [name for name in modules() if name.startswith(PRODUCT)]
    assert {name.split("/")[0] for name in product} == {"kcompiler", "passes", "targets"}
    assert [line for name in product for line in violations(name, read(name))] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kcompiler/pipeline.py", "import kcompiler.passes.fuse"),
        ("kcompiler/pipeline.py", "def f():\n    from kcompiler import passes"),
        ("kcompiler/graph/node.py", "from ..targets import rebel"),
        (
            "kcompiler/graph/node.py",
            "from importlib import import_module\nimport_module('kcompiler.targets.rebel')",
        ),
        (
            "kcompiler/graph/node.py",
            "import importlib\nimportlib.import_module('kcompiler.passes')",
        ),
        ("kcompiler/graph/node.py", "import onnx"),
        ("kcompiler/cli.py", "from kcompiler.targets import rebel"),
        ("kcompiler/cli.py", "def f():\n    import onnxruntime"),
        ("passes/fuse.py", "from kcompiler.targets.rebel import chip"),
        ("passes/fuse.py", "from ..targets import rebel"),
        ("passes/fuse.py", "import passes.tile"),
        ("passes/fuse.py", "from onnx import helper"),
        ("targets/rebel/lower.py", "from kcompiler.targets.atom import chip"),
        ("targets/rebel/lower.py", "from kcompiler.targets import atom"),
        ("targets/rebel/lower.py", "from ..atom import chip"),
        ("targets/rebel/lower.py", "import targets.rebel"),
    ],
)
def test_planted_faults_are_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kcompiler/cli.py", "def f():\n    from kcompiler.targets import rebel"),
        ("kcompiler/cli.py", "if TYPE_CHECKING:\n    from kcompiler.passes import fuse"),
        ("kcompiler/frontend/load.py", "import onnx"),
        ("kcompiler/host.py", "import onnxruntime as ort"),
        ("passes/fuse.py", "from kcompiler.graph import node\nfrom kcompiler.passes import tile"),
        ("targets/rebel/lower.py", "from kcompiler.passes.tile import plan\nfrom . import chip"),
        ("targets/rebel/lower.py", "from kcompiler.targets.rebel.chip import CHIP"),
    ],
)
def test_what_is_allowed(path: str, source: str) -> None:
    assert violations(path, source) == []
