"""The page Twins: samples that reason alike about different things."""
