"""The page Map: directions of spans, laid out."""
