"""Must not be imported: its contract versions say before that it does not fit."""

raise AssertionError("a plugin for another version of its contract was imported")
