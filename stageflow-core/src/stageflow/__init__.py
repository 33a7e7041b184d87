"""Stageflow runs graphs of stages: async, structured, observable, durable."""

from pkgutil import extend_path

# `stageflow.tools`, `stageflow.helpers` and `stageflow.compression` come in distributions of
# their own; this makes them found beside core, installed as wheels or editable.
__path__ = extend_path(__path__, __name__)
