"""The ML step: reads the published churn features, writes churn scores and model runs."""

from pathlib import Path

# where models are, unless --artifacts names another folder
ARTIFACTS = Path(__file__).resolve().parent.parent / "artifacts"
