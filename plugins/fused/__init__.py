"""The fused training path that architectures share.

Kernels, backends, attention over packed sequences, the loss, and how much memory is kept.
"""
