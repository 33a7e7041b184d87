"""Audit a folder: encodings, languages, sizes, secrets, personal data and duplicates.

`listing` finds the files, `analysis` looks at one batch of them, `joining` puts the
batches together, and `terminal`, `page` and `report` show what came out.
"""
