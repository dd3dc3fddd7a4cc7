"""Alerts: written to a spool by the failing process, delivered by the agent's dispatcher."""
