"""The page Map: the layout of span directions."""
