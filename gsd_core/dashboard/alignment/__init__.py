"""The page Alignment: two traces span by span."""
