"""What holds for every test."""

from hypothesis import settings

# How long an example takes says more about the machine than about what is tested.
settings.register_profile("dpin", deadline=None)
settings.load_profile("dpin")
