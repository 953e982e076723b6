"""Readers of published benchmarks; `registry` names them, `convert` makes label records."""
