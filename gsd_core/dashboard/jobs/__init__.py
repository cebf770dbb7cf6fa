"""Command-line stages that a page starts, watches and stops."""
