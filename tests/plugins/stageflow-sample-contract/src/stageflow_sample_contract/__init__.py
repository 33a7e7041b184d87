"""A plugin with a contract and hooks of its own."""
