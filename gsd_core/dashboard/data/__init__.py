"""The page Data: bring a file, start a capture."""
