"""An agent that answers customers with tools, under supervision."""
