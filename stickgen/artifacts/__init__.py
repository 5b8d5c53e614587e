"""Everything that crosses the disk except data files: bases, adapters, run folders."""
