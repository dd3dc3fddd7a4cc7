"""Keeps ended spans where a killed process can't take them along, until the agent has sent them.

A span is encoded once, as OTLP, and put into this process's ring in the state directory; the agent
joins what all rings hold into requests. Nothing here waits, and a full ring drops and counts.
"""
