"""What every page stands in: address, workspace, cache, charts."""
