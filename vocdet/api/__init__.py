"""The public API: what `import vocdet` offers, one file for each kind of thing."""
