"""``stickgen studio``: a local web application to look at data, train, generate and compare.

``server.py`` starts it, ``gate.py`` decides which requests it answers, ``folders.py`` resolves the paths that come from
the browser. Each tab has a module of widgets and a module of plain functions that do its work.
"""
