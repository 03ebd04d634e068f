EXTRAS = {}
ONCE = {}
