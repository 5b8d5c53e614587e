"""From base and adapter to one deployable checkpoint."""
