"""The graph level: tensors and operators.

`node` holds the grammar, `operators` the operators, `build` short ways to make them, `text` the
text form, `verify` the rules, `interpreter` the meaning, and `bounds` the error that a correct
implementation may make.
"""
