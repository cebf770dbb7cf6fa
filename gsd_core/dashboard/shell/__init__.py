"""Runs the pages."""
