"""What is exact about each architecture of timm: the support table, docs/models.md."""
