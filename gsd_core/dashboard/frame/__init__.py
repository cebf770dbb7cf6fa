"""What every page uses: address, workspace, cache, charts."""
