"""The fused training path that architectures share: kernels, backends, packed attention, loss, memory."""
