"""Dynamic shapes: programs for several extents, and the proof that inputs may be padded.

`spec` reads what the caller wants, `analysis` proves by the table of `rules` that padding changes
no kept element, `compile` makes the programs, and `bucket` says which one runs and what it wastes.
"""
