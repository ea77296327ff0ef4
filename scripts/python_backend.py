"""The build backend of bindings/python for the whole source tree: builds there. A source archive of that folder alone would lack the
library's sources, so there is none to be made here.
"""
import os
import pathlib

os.chdir(pathlib.Path(__file__).resolve().parents[1] / "bindings" / "python")

from scikit_build_core.build import (  # noqa: E402, F401
    build_editable, build_wheel, get_requires_for_build_editable, get_requires_for_build_wheel, prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel)
