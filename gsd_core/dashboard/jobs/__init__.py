"""Background jobs: command-line stages that a page starts, watches and stops."""
