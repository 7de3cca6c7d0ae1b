"""Periodic configurations, their neighbours, their files and their random starts."""
