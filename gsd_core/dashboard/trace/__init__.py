"""The page Trace: one sample, span by span."""
