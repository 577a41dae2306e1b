"""`athanor compare`: jobs side by side, and by how much one is better on the same rows.

values.py    `Comparison`, figures and words
reading.py   store + files → `Comparison`
pages.py     as tables on a terminal, and as one HTML file
"""
