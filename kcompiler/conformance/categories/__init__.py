"""The categories of the kit, one file each; `ORDER` is the order in which they run.

Each has a `TITLE`, and `findings(bench)`, which yields a finding for every case.
"""

ORDER = (
    "facts",
    "errors",
    "encoding",
    "operators",
    "hazards",
    "models",
    "monotonicity",
    "determinism",
)
