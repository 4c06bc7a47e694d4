"""The columns of the table: one folder per backend, one file per operation in it."""
