"""The page Overview: runs, jobs and data sets."""
