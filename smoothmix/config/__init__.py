"""The configuration of a run: checked, built, stored, loaded. The only package that imports Hydra."""
