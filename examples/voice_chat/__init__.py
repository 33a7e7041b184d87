"""A spoken conversation that can be interrupted: an example of streams between stages."""
