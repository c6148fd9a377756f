"""Axolotl plugins: what makes the training strict, correct, fast and watched."""
