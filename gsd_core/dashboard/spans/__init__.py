"""What pages show of a chosen span."""
