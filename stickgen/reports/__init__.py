"""What people look at: models beside each other in a page, and the clips of a data file."""
