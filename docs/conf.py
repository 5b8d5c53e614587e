"""Settings of the documentation: ``sphinx-build -W docs build/docs``."""

import os
import sys
from pathlib import Path

import stickgen

project = "stickgen"
author = "the stickgen developers"
release = stickgen.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.typer",
]
html_theme = "furo"
html_title = f"stickgen {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# The tutorials are notebooks, run in a temporary folder; -D nb_execution_mode=off skips that. An error ends the build.
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = "remove"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # where stickgen is
os.environ |= {"COLUMNS": "90", "TERM": "dumb"}  # as wide as the page, no escape sequences
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads wait for each other where another program needs a core

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True

# Elsewhere the build is to work without a network, and a missing inventory is a warning.
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "lightning": ("https://lightning.ai/docs/pytorch/stable", None),
    }
