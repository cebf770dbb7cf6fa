"""Stages: each reads from the workspace, computes, and writes its result whole."""
