"""A standing campaign: every write of every command fails once, in every way, and nothing may be lost.

``python -m tests.campaign`` runs all of it and prints the matrix of docs/reliability.md; the tests run a share.
"""
