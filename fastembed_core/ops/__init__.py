"""The contracts: one file per operation, with its signature, formula, validation and output."""
