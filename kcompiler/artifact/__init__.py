"""A compilation as a package and back; the format is described in docs/package-format.md.

`pack` gives the manifest and the sections of a compilation, `unpack` a compilation from a package
that anyone may have written: every name, number and size is checked before anything is made of it.
"""

from kcompiler.artifact.decode import unpack
from kcompiler.artifact.encode import pack
from kcompiler.artifact.identity import chip_digest, instruction_set_digest

__all__ = ["chip_digest", "instruction_set_digest", "pack", "unpack"]
