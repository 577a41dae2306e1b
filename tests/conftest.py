"""Set up before any test module is imported."""

import os

# Workers and training children run side by side on as few as two cores. With a thread pool
# each they fight for them and tests run into their timeouts; it must be set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
