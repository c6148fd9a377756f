"""How labels of a batch say that a token isn't trained."""

IGNORE = -100
"""The label of a token whose loss isn't counted: PyTorch's, transformers' and Axolotl's."""
