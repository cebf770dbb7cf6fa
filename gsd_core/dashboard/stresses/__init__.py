"""The page Stresses: recurring sequences of aligned spans."""
