"""Stored gradients of other programs, read into a run."""
