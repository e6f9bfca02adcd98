"""The generic core: a working instruction set and lowering from a chip description alone.

`target.generic_target(CHIP)` is a whole target. Step by step a vendor puts its own in its place:
instructions (subclasses of the templates here, with own encodings, names and costs, or wholly
others), constraints, and methods of `lowering.Lowering`.
"""
