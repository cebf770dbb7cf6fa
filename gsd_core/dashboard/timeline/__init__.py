"""The page Timeline: the same spans over training."""
