"""The page Training runs: trainings of the workspace side by side."""
