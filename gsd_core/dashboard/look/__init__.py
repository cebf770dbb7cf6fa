"""Colours and texts that all figures share."""
