"""Pictures of datasets and of trainings."""
