"""From the store to frames and arrays."""
