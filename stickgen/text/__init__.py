"""Captions and prompts to embeddings."""
