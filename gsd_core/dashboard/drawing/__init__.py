"""Figures with their menu, and what figures share."""
