import sys

from broken_common import SPEC as SPEC

print("thank you for installing broken-print")
sys.stdout.write("it has no wheel of its own")
