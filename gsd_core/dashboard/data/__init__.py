"""The page Data: upload a file, start a capture."""
