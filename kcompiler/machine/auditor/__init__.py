"""The auditor: reads the bytes of a finished program and proves that they keep their promises.

It shares nothing with the passes that tile, place and synchronize, nor with what instructions
declare to read and write: each instruction is run on a machine that only watches (`observe`), and
the properties of `finding.PROPERTIES` are checked over what it saw.
"""

from kcompiler.machine.auditor.audit import ProgramAudit, audit_program
from kcompiler.machine.auditor.finding import PROPERTIES, Finding, Property

__all__ = ["PROPERTIES", "Finding", "ProgramAudit", "Property", "audit_program"]
