"""The largest counts of configurations and of options. Larger ones are mistakes.

They would pass every other check and end after years, or in a full memory.
"""

LARGEST_STEPS = 10**9
LARGEST_BATCH = 4096
LARGEST_SEED = 2**31 - 1
LARGEST_WEIGHT = 10**6
# Of images, noises, volumes and processes that an option asks for.
LARGEST_COUNT = 10_000
# Learning rate of Adam, whose steps are as large as the rate.
LARGEST_RATE = 10.0
