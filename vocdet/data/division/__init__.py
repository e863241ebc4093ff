"""How a dataset is split: groups, stratification, sampling."""
