"""What makes data files: motion capture read, cut, projected and captioned, and data files merged."""
