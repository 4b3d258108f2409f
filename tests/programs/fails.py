import sys

from names import failing

if sys.argv[1] == "exit":
    sys.exit(3)
if sys.argv[1] == "interrupt":
    raise KeyboardInterrupt
if sys.argv[1] == "error":
    failing.divide(0)
if sys.argv[1] == "missing":
    failing.missing()
