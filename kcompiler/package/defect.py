"""Failed checks: leaves say why and what to do, the public functions add the file's name."""

from collections.abc import Iterator
from contextlib import contextmanager

from kcompiler.errors import PackageError

DAMAGED = "the file is damaged or was altered: copy it again, or compile the model again"


class DefectError(ValueError):
    """A check failed: the reason and the cure. It never leaves this package."""

    def __init__(self, why: str, fix: str = DAMAGED) -> None:
        super().__init__(why)
        self.fix = fix


@contextmanager
def reported(what: str, where: str) -> Iterator[None]:
    """Turn failed checks and errors of the operating system into the error that users see."""
    try:
        yield
    except DefectError as defect:
        raise PackageError(what, where, str(defect), defect.fix) from None
    except OSError as error:
        fix = "check the path, your permissions and the free space of the disk"
        raise PackageError(what, where, error.strerror or str(error), fix) from error


def brief(value: object) -> str:
    """The `repr` of a value from an untrusted file, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
