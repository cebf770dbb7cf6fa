"""What every page stands in: address, session, choices."""
