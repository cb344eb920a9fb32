"""Batches: many recipes, made by workers, with a journal of what is done."""
