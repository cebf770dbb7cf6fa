"""A span, the spans aligned with it, and pinned spans."""
