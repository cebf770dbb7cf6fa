"""The page Trace: one sample's reasoning, span by span."""
