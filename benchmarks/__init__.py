"""Times, memory and an independent engine: what the project costs, and that its rows are right."""
