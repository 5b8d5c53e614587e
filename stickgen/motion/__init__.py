"""What a clip of motion is: its figure, bones, actions, physics, quality and frame rate; no files, no training."""
