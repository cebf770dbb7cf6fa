"""The page Segments: which parts of a trace bear on its answer."""
