"""From the store to tidy frames."""
