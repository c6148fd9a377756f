"""Starts training and watches its processes."""
