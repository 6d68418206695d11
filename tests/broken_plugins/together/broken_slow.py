import time

from broken_common import SPEC as SPEC

time.sleep(1.2)
