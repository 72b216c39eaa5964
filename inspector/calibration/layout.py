"""Names of what a calibration leaves in its folder."""

CALIBRATION = "calibration"
"""The folder of a calibration inside that of its run."""
RESULT = "calibration.json"
SCHEMA = "qinspect.calibration/1"
"""`schema` of RESULT."""
TABLES = "distributions.safetensors"
SHARDS = "shards"
