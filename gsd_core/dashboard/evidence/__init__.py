"""The page Evidence: the structure benchmark."""
