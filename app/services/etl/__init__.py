"""Rows from elsewhere: fetched, validated, transformed and saved, a run at a time."""
