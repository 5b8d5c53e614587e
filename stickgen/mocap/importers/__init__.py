"""Readers of motion capture: each turns a file into recordings of the same joints, y up."""
