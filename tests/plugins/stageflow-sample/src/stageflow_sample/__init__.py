"""A complete plugin of Stageflow, to copy: an event sink, an IO manager and a command."""
