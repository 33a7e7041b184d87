"""The one engine below all doors: plans, runs, stage calls. Nobody outside core imports it."""
