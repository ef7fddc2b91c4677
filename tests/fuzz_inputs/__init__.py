"""Damaged, hostile and odd inputs, drawn from seeds: each is used, or refused by a named error."""
