"""What runs the pages: the router and the frame of every page about a run."""
