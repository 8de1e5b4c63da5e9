from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick", max_examples=30, derandomize=True, deadline=None, database=None, print_blob=True
)
settings.register_profile(
    "long", max_examples=300, deadline=None, database=None, suppress_health_check=HealthCheck
)
settings.load_profile("quick")
