"""The methods, an entry each: name, options, where its code is, what it keeps. Nothing here computes."""
