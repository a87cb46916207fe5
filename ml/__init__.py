"""The ML step: reads the published churn features, writes churn scores and model runs."""
