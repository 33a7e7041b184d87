"""The time zones of the world, region by region: assets of every kind, on whatever backends."""
