"""Motion clips: their file, their check, their split and their batches."""
